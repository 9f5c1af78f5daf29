"""Pictures as they are published: a folder or tar by class, and IDX files as Fashion-MNIST's.

By class: `<class>/<file>` or `<split>/<class>/<file>`, perhaps all in a folder of their own; a
product's id is its file's path without suffix. IDX: `<split>-images-idx3-ubyte` and
`<split>-labels-idx1-ubyte`, plain or gz.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.adapters.raw import Raw
from training.columns import refuse
from training.errors import DataQualityError
from training.image.pictures import FolderPictures, Pictures, TarPictures, read_idx
from training.image.tables import SPLITS

FOLDER, IDX = "image-folder", "idx"
_IMAGES, _LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"
_NO_SPLIT = f"in no folder named {', '.join(SPLITS)}, as most are; move them there or away"
_SPLIT_OF = {"t10k": "test", "val": "validation", "valid": "validation"}


def detect(path: Path) -> str | None:
    """Which of the two a path without tables is, if any."""
    if path.is_file():
        return FOLDER if path.suffix == ".tar" else None
    if any(_IMAGES in file.name for file in path.iterdir() if file.is_file()):
        return IDX
    return FOLDER if FolderPictures(path).names() else None


def read(path: Path, format: str) -> Raw:
    """Products with `category`, `split` where the names tell it, and their pictures.

    Raises `DataQualityError`.
    """
    return _read_idx_set(path) if format == IDX else _read_by_class(path)


def _read_by_class(path: Path) -> Raw:
    pictures: Pictures = TarPictures(path) if path.is_file() else FolderPictures(path)
    names = pictures.names()
    parts = [name.split("/") for name in names]
    if not names or min(len(part) for part in parts) < 2:
        raise DataQualityError(
            f"{path.name}: expected pictures as <class>/<file> or <split>/<class>/<file>"
            + (f"; found {names[0]!r}" if names else "; found none")
        )
    frame = pd.DataFrame(
        {
            "product_id": [name.rpartition(".")[0] for name in names],
            "image": names,
            "category": [part[-2] for part in parts],
        }
    )
    splits, notes = _splits(frame, parts)
    return Raw(tables={"products": frame.assign(**splits)}, pictures=pictures, notes=notes)


def _splits(
    frame: pd.DataFrame, parts: list[list[str]]
) -> tuple[dict[str, list[str | None]], tuple[str, ...]]:
    """The column `split` where folders above the classes are named so and hold most pictures, all
    of which must be in one: a picture of no split would be trained on. Else a note, if any are."""
    found = [next(filter(None, map(_split, part[:-2])), None) for part in parts]
    outside = pd.Series([split is None for split in found])
    if outside.all():
        return {}, ()
    if outside.mean() < 0.5:
        refuse(frame, outside, table="products", column="image", rule=_NO_SPLIT)
        return {"split": found}, ()
    count = int((~outside).sum())
    return {}, (f"no split: only {count:,} of {len(parts):,} pictures are in a folder of one",)


def _split(name: str) -> str | None:
    found = _SPLIT_OF.get(name, name)
    return found if found in SPLITS else None


def _read_idx_set(folder: Path) -> Raw:
    if folder.is_file():
        folder = folder.parent
    images = sorted(file for file in folder.iterdir() if _IMAGES in file.name)
    parts = [_one_idx(file, file.name.partition(_IMAGES)[0]) for file in images]
    pixels = [array for array, _ in parts]
    if len({array.shape[1:] for array in pixels}) != 1:
        raise DataQualityError(f"{folder.name}: IDX files of different sizes of pictures")
    frame = pd.concat([table for _, table in parts], ignore_index=True)
    frame["image"] = [str(row) for row in range(len(frame))]
    return Raw(tables={"products": frame}, pixels=np.concatenate(pixels))


def _one_idx(path: Path, name: str) -> tuple[np.ndarray, pd.DataFrame]:
    """The pictures and products of one pair of files."""
    labels = path.with_name(path.name.replace(_IMAGES, _LABELS))
    pixels = read_idx(path)
    if pixels.ndim != 3:
        raise DataQualityError(f"{path.name}: {pixels.ndim} dimensions; expected 3")
    frame = pd.DataFrame({"product_id": [f"{name}-{row}" for row in range(len(pixels))]})
    if labels.exists():
        codes = read_idx(labels)
        if codes.shape != (len(pixels),):
            raise DataQualityError(
                f"{labels.name}: {len(codes):,} labels for {len(pixels):,} pictures"
            )
        frame["category"] = codes.astype(str)
    split = _split(name)
    return pixels, frame.assign(split=split) if split else frame
