"""What an image run can be told: `nextbest train image-model --set key=value`."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]


class ImageConfiguration(msgspec.Struct, frozen=True):
    """Flat, with defaults; the same for every data set. A 0 or an empty text means that it is
    derived from the data.

    What is read:
    - `labels`: columns to learn, first the one that is predicted: `category,colour`. Empty takes
      `category`, else `label`; `none` learns without any.
    - `image_size`: side in pixels, up to 224; 0 takes that of the pictures, at most 64.
    - `maximum_pixels`: a larger picture is set aside before it is decoded; up to 89,478,485, above
      which Pillow has a guard of its own.
    - `maximum_broken_share`: with more pictures set aside than this, the run ends.
    - `holdout_share`: of pictures without a `split`, so many are held out for Evaluate.
    - `fewest_in_class`: rarer labels count as unlabelled.

    What is learned:
    - `backbone`: empty is our own residual network; else `resnet18` or `resnet50`, laid out as
      torchvision does. `weights`: file of its weights within the data set, as torch saves them.
    - `widths`: channels of the first stage, doubled by each further one up to 8 times as many; 0
      takes 32, or 24 above 32 pixels.
    - `blocks`: residual blocks a stage. `embedding`: length of an embedding.
    - `contrast`: weight of drawing together the embeddings of a label. `pruning`: share of the
      easily told pictures that an epoch leaves out, of 20,000 pictures or more.
    - `epochs`, `batch_size`, `learning_rate`, `weight_decay`, `label_smoothing`, `erasing`: as the
      names say; `learning_rate` is the highest of a one-cycle schedule.
    - `precision`: of the arithmetic; `auto` is bfloat16 where the machine computes in it.
    - `processes`: training processes on each machine; 0 is one a GPU, or one.
    - `threads`: of each process; 0 leaves it to PyTorch.

    The gate: `gate_pictures`: so many held-out pictures it must at least have looked at;
    `gate_margin`: by more than how much the model must exceed the better trivial baseline, in
    accuracy, or in copies found where there are no labels to predict;
    `champion_tolerance`: by how much it may fall short of what is live.
    """

    seed: Annotated[int, Meta(ge=0)] = 0
    labels: Annotated[str, Meta(max_length=256)] = ""
    image_size: Annotated[int, Meta(ge=0, le=224)] = 0
    maximum_pixels: Annotated[int, Meta(ge=1, le=89_478_485)] = 50_000_000
    maximum_broken_share: Share = 0.05
    holdout_share: Annotated[float, Meta(gt=0, lt=1)] = 0.1
    fewest_in_class: Count = 5
    backbone: Literal["", "resnet18", "resnet50"] = ""
    weights: Annotated[str, Meta(max_length=256)] = ""
    widths: Annotated[int, Meta(ge=0, le=256)] = 0
    blocks: Annotated[int, Meta(ge=1, le=8)] = 1
    embedding: Annotated[int, Meta(ge=8, le=512)] = 64
    epochs: Annotated[int, Meta(ge=0, le=1000)] = 0
    batch_size: Annotated[int, Meta(ge=0, le=8192)] = 0
    learning_rate: Annotated[float, Meta(gt=0)] = 0.1
    weight_decay: Annotated[float, Meta(ge=0)] = 5e-4
    label_smoothing: Annotated[float, Meta(ge=0, lt=1)] = 0.1
    erasing: Share = 0.1
    contrast: Annotated[float, Meta(ge=0)] = 0.2
    pruning: Annotated[float, Meta(ge=0, lt=1)] = 0.5
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    processes: Annotated[int, Meta(ge=0, le=64)] = 0
    threads: Annotated[int, Meta(ge=0, le=256)] = 0
    gate_pictures: Count = 20
    gate_margin: float = 0.0
    champion_tolerance: Annotated[float, Meta(ge=0)] = 0.005
