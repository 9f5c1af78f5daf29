"""The image data set: `products` with `image`, labels and maybe `split`, and their pictures.

On disk: `products.parquet`, `profile.json`, and the pictures as one `images.tar` of the files as
they came (thousands of small objects are slow to move), or one `images.npy` of pixels, in which
`image` is the row. Written by `nextbest data import`, read by Prepare.
"""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.columns import (
    holds_lists,
    ids,
    numbers,
    optional_times,
    refuse,
    require_columns,
    tags,
)
from training.errors import DataQualityError, NotEnoughDataError
from training.image.pictures import ARCHIVE, PIXELS, FolderPictures, Pictures, TarPictures

WEIGHTS = (".pt", ".pth")
SPLITS = ("train", "validation", "test")
MINIMUM_PICTURES = 50
_EXAMPLES = 3


@dataclass(frozen=True)
class ImageDataset:
    """Checked products, each with a picture in `pictures` or, as a row, in `pixels`; `weights`
    are files that go along."""

    products: pd.DataFrame
    pictures: Pictures | None
    pixels: np.ndarray | None
    profile: dict[str, Any]
    weights: tuple[Path, ...] = ()


def build_image_dataset(
    products: pd.DataFrame,
    *,
    pictures: Pictures | None = None,
    pixels: np.ndarray | None = None,
    notes: tuple[str, ...] = (),
) -> ImageDataset:
    """Check raw products against their pictures.

    Products without an `image` are left out; missing files are counted. Raises
    `DataQualityError` or `NotEnoughDataError`.
    """
    require_columns(products, ("product_id", "image"), table="products")
    names = products["image"].astype(str).str.strip()
    present = products["image"].notna() & (names != "")
    frame = products.assign(image=names)[present].reset_index(drop=True)
    if len(frame) < MINIMUM_PICTURES:
        raise NotEnoughDataError(
            f"{len(frame)} products with a picture: at least {MINIMUM_PICTURES} are needed"
        )
    frame = _checked(frame)
    missing = _missing(frame, pictures)
    without = int((~present).sum())
    if without:
        notes = (*notes, f"{without:,} products have no picture")
    profile = _profile(frame, pixels, missing, notes)
    return ImageDataset(frame, pictures, pixels, profile, _weights_beside(pictures))


def _weights_beside(pictures: Pictures | None) -> tuple[Path, ...]:
    """Files of a backbone's weights in the folder of pictures, for `weights=FILE`."""
    if not isinstance(pictures, FolderPictures):
        return ()
    return tuple(p for p in sorted(pictures.root.iterdir()) if p.suffix in WEIGHTS)


def _missing(frame: pd.DataFrame, pictures: Pictures | None) -> int:
    """How many files are not there: Prepare lists them. Without any it is the wrong folder."""
    if pictures is None:
        return 0
    missing = ~frame["image"].isin(set(pictures.names()))
    if missing.all():
        refuse(frame, missing, table="products", column="image", rule="no such file")
    return int(missing.sum())


def _checked(frame: pd.DataFrame) -> pd.DataFrame:
    frame = frame.copy()
    frame["product_id"] = ids(frame, "product_id", table="products")
    twice = frame["product_id"].duplicated()
    refuse(frame, twice, table="products", column="product_id", rule="the same product twice")
    if "price" in frame.columns:
        frame["price"] = numbers(frame, "price", table="products")
    for column in {"available_from", "available_until"} & set(frame.columns):
        frame[column] = optional_times(frame, column, table="products")
    for column in frame.columns:
        if holds_lists(frame[column]):
            frame[column] = tags(frame, column, table="products")
    if "split" in frame.columns:
        odd = ~frame["split"].isin([*SPLITS, ""]) & frame["split"].notna()
        rule = f"expected one of {', '.join(SPLITS)}, or nothing"
        refuse(frame, odd, table="products", column="split", rule=rule)
    return frame


def _profile(
    frame: pd.DataFrame, pixels: np.ndarray | None, missing: int, notes: tuple[str, ...]
) -> dict[str, Any]:
    """What a data set holds, as plain JSON."""
    labelled = next((c for c in ("category", "label") if c in frame.columns), None)
    counts = frame[labelled].dropna().astype(str).value_counts() if labelled else {}
    split = frame["split"].value_counts() if "split" in frame.columns else {}
    return {
        "table": "pictures",
        "pictures": len(frame),
        "pixels": "x".join(str(n) for n in pixels.shape[1:]) if pixels is not None else None,
        "label": labelled,
        "classes": {str(k): int(v) for k, v in list(counts.items())[:50]},
        "split": {str(k): int(v) for k, v in split.items()},
        "rejected": {"no such file": missing} if missing else {},
        "notes": list(notes),
    }


def write_image_dataset(dataset: ImageDataset, folder: Path) -> list[Path]:
    """The canonical files; same content, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset.products.to_parquet(folder / "products.parquet", index=False)
    (folder / "profile.json").write_text(json.dumps(dataset.profile, indent=1), encoding="utf-8")
    if dataset.pixels is not None:
        np.save(folder / PIXELS, dataset.pixels, allow_pickle=False)
    elif dataset.pictures is not None:
        _write_archive(dataset.pictures, sorted(set(dataset.products["image"])), folder / ARCHIVE)
    for path in dataset.weights:
        shutil.copyfile(path, folder / path.name)
    return sorted(folder.iterdir())


def _write_archive(pictures: Pictures, names: list[str], target: Path) -> None:
    with tarfile.open(target, "w") as tar:
        for name in sorted(set(names) & set(pictures.names())):
            content = pictures.read(name)
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))


def read_image_dataset(folder: Path) -> ImageDataset:
    """What `write_image_dataset` wrote, or the same with a folder `images/` for the tar."""
    table = folder / "products.parquet"
    if not table.exists():
        raise DataQualityError(f"{folder}: no products.parquet; run nextbest data import")
    frame = pd.read_parquet(table)
    profile = folder / "profile.json"
    known = json.loads(profile.read_text(encoding="utf-8")) if profile.exists() else {}
    if (folder / PIXELS).exists():
        pixels = np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False)
        return ImageDataset(frame, None, pixels, known)
    return ImageDataset(frame, open_pictures(folder), None, known)


def open_pictures(folder: Path) -> Pictures:
    """The pictures beside a `products` table: `images.tar`, else the folder itself."""
    archive = folder / ARCHIVE
    return TarPictures(archive) if archive.exists() else FolderPictures(folder)
