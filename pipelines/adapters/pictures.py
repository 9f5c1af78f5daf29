"""Pictures as they are published: a folder or tar by class, and IDX files as Fashion-MNIST's.

By class: `<class>/<file>` or `<split>/<class>/<file>`; a product's id is its file's path without
suffix. IDX: `<split>-images-idx3-ubyte` and `<split>-labels-idx1-ubyte`, plain or gz.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.adapters.raw import Raw
from training.errors import DataQualityError
from training.image.pictures import FolderPictures, Pictures, TarPictures, read_idx
from training.image.tables import SPLITS

FOLDER, IDX = "image-folder", "idx"
_IMAGES, _LABELS = "-images-idx3-ubyte", "-labels-idx1-ubyte"
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
    splits = [_split(part[0]) if len(part) > 2 else None for part in parts]
    frame = pd.DataFrame(
        {
            "product_id": [name.rpartition(".")[0] for name in names],
            "image": names,
            "category": [part[-2] for part in parts],
        }
    )
    if all(splits):
        frame["split"] = splits
    return Raw(tables={"products": frame}, pictures=pictures)


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
