"""Prepare: products with pictures → pixels of one size, labels and a holdout. A processing job.

Reads the channel `dataset`, writes the output `prepared`. A picture that cannot be used is counted,
listed in `set_aside.json` and left out; with more of them than `maximum_broken_share` the run ends.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from inference.images import UnreadableImageError, header
from training.columns import holds_lists
from training.configuration import parse
from training.errors import ConfigurationError, DataQualityError, NotEnoughDataError
from training.image.configuration import ImageConfiguration
from training.image.decoding import Report, decode_all, resize_all
from training.image.pictures import Pictures
from training.image.tables import MINIMUM_PICTURES, ImageDataset, read_image_dataset
from training.job import Job
from training.recommendation.catalogue import catalogue

TRAIN, TEST = 0, 1
IMAGES = "images.npy"
WEIGHTS = "weights.pt"
_MOST_AUTOMATIC = 64
_SAMPLE = 64
_EXAMPLES = 3
_NO_LABELS = "none"


@dataclass(frozen=True)
class Prepared:
    """`images` uint8 (n, size, size, channels), memory-mapped; `labels` int64 (n, heads), -1 where
    there is none; `split` int8, TRAIN or TEST. `meta` has `product_ids`, `heads` (name and values),
    titles, attributes, fingerprint."""

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def classes(self) -> list[str]:
        """Values of the first label; empty where nothing is labelled."""
        heads = self.meta["heads"]
        return list(heads[0]["values"]) if heads else []

    def rows(self, split: int) -> np.ndarray:
        return np.flatnonzero(self.split == split)


def run(job: Job) -> None:
    configuration = parse(ImageConfiguration, job.settings, where="image-model")
    dataset = read_image_dataset(job.channel("dataset"))
    folder = job.output("prepared")
    prepared = prepare(dataset, configuration, folder, log=job.log)
    _copy_weights(job.channel("dataset"), configuration, folder)
    job.log(
        "prepared",
        pictures=len(prepared),
        train=len(prepared.rows(TRAIN)),
        test=len(prepared.rows(TEST)),
        classes=len(prepared.classes),
        shape=list(prepared.images.shape[1:]),
        **prepared.meta["decoding"],
    )


def prepare(
    dataset: ImageDataset, configuration: ImageConfiguration, folder: Path, *, log: Any
) -> Prepared:
    """Decode, label and split a data set into `folder`.

    Raises `DataQualityError` with too many pictures set aside, `NotEnoughDataError`,
    `ConfigurationError` for a label column that is not there.
    """
    columns = label_columns(dataset.products, configuration.labels)
    size, channels = _shape(dataset, configuration)
    report = _decode(dataset, configuration, folder / IMAGES, size, channels, log)
    kept = _kept(dataset.products, report, configuration, folder)
    _compact(folder / IMAGES, kept)
    frame = dataset.products.iloc[kept].reset_index(drop=True)
    heads = [_head(frame[column], column, configuration.fewest_in_class) for column in columns]
    heads = [head for head in heads if len(head[0]["values"]) > 1]
    codes = [codes for _, codes in heads]
    labels = np.stack(codes, axis=1) if codes else np.zeros((len(frame), 0), np.int64)
    described, _ = catalogue(frame.drop(columns="split", errors="ignore"), _index(frame))
    images = np.load(folder / IMAGES, mmap_mode="r")
    meta = {
        "product_ids": frame["product_id"].tolist(),
        "heads": [head for head, _ in heads],
        "decoding": report.counts(),
        "has_split": _holds_split(frame),
        "fingerprint": _fingerprint(images, labels),
        **described,
    }
    split = _split(frame, configuration)
    save(folder, labels=labels, split=split, meta=meta)
    return load(folder)


def label_columns(products: pd.DataFrame, given: str) -> list[str]:
    """The columns to learn. Raises `ConfigurationError` for one that is not there."""
    if given == _NO_LABELS:
        return []
    if not given:
        return [name for name in ("category", "label") if name in products.columns][:1]
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in products.columns:
            raise ConfigurationError(
                f"labels={given}: products has no column {name!r}; "
                f"it has {', '.join(map(str, products.columns))}"
            )
        if holds_lists(products[name]):
            raise ConfigurationError(f"labels={given}: {name!r} holds lists; one value is needed")
    return names


def _index(frame: pd.DataFrame) -> pd.Index:
    return pd.Index(frame["product_id"].astype(object))


def _shape(dataset: ImageDataset, configuration: ImageConfiguration) -> tuple[int, int]:
    """Side and channels: as configured, or those of the pictures."""
    if dataset.pixels is not None:
        channels = dataset.pixels.shape[3] if dataset.pixels.ndim == 4 else 1
        found = max(dataset.pixels.shape[1:3])
    else:
        found, channels = _sampled(dataset.pictures, list(dataset.products["image"]))
    return configuration.image_size or min(found, _MOST_AUTOMATIC), channels


def _sampled(pictures: Pictures | None, names: list[str]) -> tuple[int, int]:
    """Median longer side, and 3 channels unless all of a sample are grey."""
    step = max(1, len(names) // _SAMPLE)
    seen = [shape for name in names[::step] if (shape := _seen(pictures, name)) is not None]
    if not seen:
        return _MOST_AUTOMATIC, 3
    sides, channels = zip(*seen, strict=True)
    return int(np.median(sides)), max(channels)


def _seen(pictures: Pictures | None, name: str) -> tuple[int, int] | None:
    try:
        return header(pictures.read(name)) if pictures is not None else None
    except (KeyError, UnreadableImageError):
        return None


def _decode(
    dataset: ImageDataset,
    configuration: ImageConfiguration,
    target: Path,
    size: int,
    channels: int,
    log: Any,
) -> Report:
    if dataset.pixels is not None:
        rows = dataset.products["image"].astype(int).to_numpy()
        resize_all(dataset.pixels[rows], target, size=size, channels=channels)
        return Report()
    assert dataset.pictures is not None
    return decode_all(
        dataset.pictures,
        list(dataset.products["image"]),
        target,
        size=size,
        channels=channels,
        maximum_pixels=configuration.maximum_pixels,
        workers=os.cpu_count() or 1,
        progress=lambda done: log("decoding", pictures=done, of=len(dataset.products)),
    )


def _kept(
    products: pd.DataFrame, report: Report, configuration: ImageConfiguration, folder: Path
) -> np.ndarray:
    """Rows of the pictures that can be used; lists all others."""
    listed = [
        {"product_id": products["product_id"].iloc[row], "image": str(products["image"].iloc[row])}
        | {"reason": reason, "kept": rows is report.noted}
        for rows in (report.set_aside, report.noted)
        for row, reason in sorted(rows.items())
    ]
    (folder / "set_aside.json").write_text(json.dumps(listed, indent=1), encoding="utf-8")
    bad, total = len(report.set_aside), len(products)
    if bad > configuration.maximum_broken_share * total:
        examples = "; ".join(f"{x['image']}: {x['reason']}" for x in listed[:_EXAMPLES])
        raise DataQualityError(
            f"products.image: {bad:,} of {total:,} pictures cannot be used, at most "
            f"{configuration.maximum_broken_share:.0%} may be (maximum_broken_share), e.g. "
            f"{examples}"
        )
    if total - bad < MINIMUM_PICTURES:
        raise NotEnoughDataError(
            f"{total - bad} pictures can be used: at least {MINIMUM_PICTURES} are needed"
        )
    return np.setdiff1d(np.arange(total), list(report.set_aside))


def _compact(path: Path, kept: np.ndarray) -> None:
    """Leave only the rows `kept`; a file that holds no others stays as it is."""
    array = np.load(path, mmap_mode="r")
    if len(kept) == len(array):
        return
    partial = path.with_suffix(".partial")
    smaller = np.lib.format.open_memmap(
        partial, mode="w+", dtype=np.uint8, shape=(len(kept), *array.shape[1:])
    )
    for start in range(0, len(kept), 1024):
        smaller[start : start + 1024] = array[kept[start : start + 1024]]
    smaller.flush()
    partial.replace(path)


def _head(column: pd.Series, name: str, fewest: int) -> tuple[dict[str, Any], np.ndarray]:
    """A label's values and the code of each row, -1 where it has none or a rare one."""
    missing = column.isna() | (column.astype(str).str.strip() == "")
    texts = column.astype(str).where(~missing, "")
    counts = Counter(texts[~missing])
    values = sorted(value for value, count in counts.items() if count >= fewest)
    codes = pd.Index(values).get_indexer(pd.Index(texts)) if values else np.full(len(texts), -1)
    return {"name": name, "values": values}, np.where(missing, -1, codes).astype(np.int64)


def _split(frame: pd.DataFrame, configuration: ImageConfiguration) -> np.ndarray:
    """TEST as the column `split` says, else by a hash of the product's id: a product that is held
    out stays so in later data sets, and the champion has not seen it either.

    Nothing is chosen by a validation split here, so it is trained on like the rest.
    """
    if _holds_split(frame):
        split = (frame["split"] == "test").astype(np.int8).to_numpy()
    else:
        shares = [_share_of(f"{configuration.seed}:{name}") for name in frame["product_id"]]
        split = (np.array(shares) < configuration.holdout_share).astype(np.int8)
    if not 0 < split.sum() < len(split):
        raise NotEnoughDataError(
            f"{int(split.sum())} of {len(split)} pictures are held out; both parts are needed. "
            "Mind the column split, or --set holdout_share=…"
        )
    return split


def _holds_split(frame: pd.DataFrame) -> bool:
    return "split" in frame.columns and bool((frame["split"] == "test").any())


def _share_of(text: str) -> float:
    """A hash as a number in [0, 1)."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64


def split_rule(prepared: Prepared, configuration: ImageConfiguration) -> str:
    """How pictures were held out; models with the same rule have the same ones unseen."""
    if prepared.meta["has_split"]:
        return "column"
    return f"hash {configuration.seed} {configuration.holdout_share:g}"


def _fingerprint(images: np.ndarray, labels: np.ndarray) -> str:
    digest = hashlib.sha256()
    for start in range(0, len(images), 4096):
        digest.update(np.ascontiguousarray(images[start : start + 4096]).tobytes())
    digest.update(np.ascontiguousarray(labels).tobytes())
    return digest.hexdigest()


def _copy_weights(dataset: Path, configuration: ImageConfiguration, folder: Path) -> None:
    """Bring the named weights along: a training job sees `prepared` only."""
    if not configuration.weights:
        return
    path = dataset / configuration.weights
    if not path.resolve().is_relative_to(dataset.resolve()) or not path.is_file():
        raise ConfigurationError(
            f"weights={configuration.weights}: the data set has no such file; put it beside "
            "products and import again"
        )
    (folder / WEIGHTS).write_bytes(path.read_bytes())


def save(folder: Path, *, labels: np.ndarray, split: np.ndarray, meta: dict[str, Any]) -> None:
    """Write, beside the images, what `load` reads; same content, same bytes."""
    np.save(folder / "labels.npy", labels, allow_pickle=False)
    np.save(folder / "split.npy", split, allow_pickle=False)
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")


def load(folder: Path) -> Prepared:
    return Prepared(
        images=np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False),
        labels=np.load(folder / "labels.npy", allow_pickle=False),
        split=np.load(folder / "split.npy", allow_pickle=False),
        meta=json.loads((folder / "meta.json").read_text(encoding="utf-8")),
    )
