"""Pictures whose right answer is known: squares, crosses and stripes, each anywhere, in any grey,
light on dark or dark on light.

The files are made without torch; jobs run under the container contract.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from inference import artifact
from training.image.tables import ImageDataset, build_image_dataset, write_image_dataset
from training.job import Job

SHAPES = ("cross", "square", "stripes")
SIZE = 16
STARTED = "2026-05-01T10:00:00Z"
QUICK = {
    "epochs": "16",
    "widths": "8",
    "embedding": "16",
    "threads": "1",
    "batch_size": "32",
    "learning_rate": "0.12",
    "holdout_share": "0.3",
}


def draw(shape: str, generator: np.random.Generator) -> np.ndarray:
    """uint8 (SIZE, SIZE)."""
    pixels = generator.integers(0, 110, (SIZE, SIZE))
    top, left = generator.integers(0, 7, 2)
    light = int(generator.integers(130, 200))
    part = pixels[top : top + 10, left : left + 10]
    if shape == "square":
        part[1:-1, 1:-1] = light
    elif shape == "cross":
        part[4:6], part[:, 4:6] = light, light
    else:
        part[::3] = light
    inverted = bool(generator.integers(0, 2))
    return (255 - pixels if inverted else pixels).astype(np.uint8)


def pixels_and_labels(count: int, *, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """`count` pictures uint8 (count, SIZE, SIZE) and their shapes, in turn."""
    generator = np.random.default_rng(seed)
    labels = [SHAPES[number % len(SHAPES)] for number in range(count)]
    return np.stack([draw(label, generator) for label in labels]), labels


def dataset(count: int = 240, *, seed: int = 0, **columns: Any) -> ImageDataset:
    """As pixels, labelled by `category`."""
    pixels, labels = pixels_and_labels(count, seed=seed)
    frame = pd.DataFrame(
        {
            "product_id": [f"p{number}" for number in range(count)],
            "image": [str(number) for number in range(count)],
            "category": labels,
            **columns,
        }
    )
    return build_image_dataset(frame, pixels=pixels)


def encoded(pixels: np.ndarray, format: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def job(root: Path, step: str, **settings: str) -> Job:
    return Job(f"image.{step}", root, settings, "acme", "image-model-1", STARTED)


def moved(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, dirs_exist_ok=True)


def run_prepare(root: Path, data: ImageDataset, **settings: str) -> Path:
    """Prepare, with its output where Train looks for it."""
    from training.image import prepare

    write_image_dataset(data, root / "processing" / "input" / "dataset")
    prepare.run(job(root, "prepare", **settings))
    target = root / "processing" / "input" / "prepared"
    moved(root / "processing" / "output" / "prepared", target)
    return target


def run_jobs(
    root: Path, data: ImageDataset, *, champion: Path | None = None, **settings: str
) -> dict[str, Any]:
    """Prepare, Train and Evaluate; `champion` is the root of an earlier run. The report's files."""
    from training.image import evaluate, train

    run_prepare(root, data, **settings)
    train.run(job(root, "train", **settings))
    inputs = root / "processing" / "input"
    (inputs / "model").mkdir(exist_ok=True)
    artifact.pack(root / "model", inputs / "model" / "model.tar.gz")
    artifact.pack(root / "output" / "data", inputs / "model" / "output.tar.gz")
    if champion is not None:
        moved(champion / "processing" / "input" / "model", inputs / "champion")
    evaluate.run(job(root, "evaluate", **settings))
    folder = root / "processing" / "output" / "evaluation"
    return {
        n: json.loads((folder / f"{n}.json").read_text()) for n in ("metrics", "gate", "golden")
    }
