"""`nextbest data import`: files → checked, immutable data sets of a tenant on a stage.

Interactions, nudges and pictures are a data set each, also where one folder holds them all. A data
set is written first and its pointer, which runs read, last: an interrupted import leaves nothing
half-done. Used by the command line, the demo and `Workspace`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines import suppressions
from pipelines.adapters import (
    FORMATS,
    PICTURES,
    PUBLISHED,
    canonical,
    hillstrom,
    online_retail,
    open_bandit,
    pictures,
    sequences,
)
from pipelines.adapters.raw import Raw
from pipelines.erased_data import without_erased
from pipelines.erased_objects import erase_late
from pipelines.pointers import newest_dataset
from pipelines.stage import IMAGE_MODEL, NUDGE_POLICY, RECOMMENDER, Stage
from training.datasets import Dataset, build_dataset
from training.datasets import write_dataset as write_shop
from training.errors import DataQualityError
from training.image.tables import ImageDataset, build_image_dataset, write_image_dataset
from training.nudge.tables import NudgeDataset, build_nudge_dataset, write_nudge_dataset

_READERS: dict[str, Callable[..., Raw]] = {  # of a path, with `progress`
    "online-retail": online_retail.read,
    "sequences": sequences.read,
    "hillstrom": hillstrom.read,
    "open-bandit": open_bandit.read,
}
AnyDataset = Dataset | NudgeDataset | ImageDataset
_KIND_OF = {Dataset: RECOMMENDER, NudgeDataset: NUDGE_POLICY, ImageDataset: IMAGE_MODEL}
_READ_SHARE = 0.6  # of an import's time, about
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class ImportedDataset:
    """Where a data set is, and which kind of model learns from it. `unchanged` says that the newest
    one holds the same already."""

    kind: str
    dataset_id: str
    uri: str
    profile: dict[str, Any]
    unchanged: bool


def _silent(what: str, share: float) -> None:
    """Nobody wants to know."""


def read_sources(
    path: Path,
    *,
    format: str = "auto",
    mapping: Mapping[str, str] | None = None,
    now: datetime,
    progress: Progress = _silent,
) -> list[AnyDataset]:
    """Read and check a file or folder in one of `FORMATS`: interactions, nudges, or both.

    Raises `DataQualityError`.
    """
    if not path.exists():
        raise DataQualityError(f"{path}: there is no such file or folder")
    progress(f"reading {path.name}", 0.0)
    raw = _read(
        path,
        format,
        mapping or {},
        progress=lambda share: progress(f"reading {path.name}", _READ_SHARE * share),
    )
    rows = sum(len(raw.tables.get(name, ())) for name in ("interactions", "nudges"))
    progress(f"checking {rows:,} rows", _READ_SHARE)
    return [*_built(raw, now=now)]


def _built(raw: Raw, *, now: datetime) -> Iterator[AnyDataset]:
    if "interactions" in raw.tables:
        yield build_dataset(
            raw.tables, now=now, ordered_by=raw.ordered_by, notes=raw.notes, set_aside=raw.set_aside
        )
    if "nudges" in raw.tables:
        yield build_nudge_dataset(raw.tables, now=now, guardrails=raw.guardrails, notes=raw.notes)
    if raw.pictures is not None or raw.pixels is not None:
        yield build_image_dataset(
            raw.tables["products"], pictures=raw.pictures, pixels=raw.pixels, notes=raw.notes
        )


def _read(
    path: Path, format: str, mapping: Mapping[str, str], *, progress: Callable[[float], None]
) -> Raw:
    if format not in FORMATS:
        raise DataQualityError(
            f"format {format!r} is unknown; expected one of {', '.join(FORMATS)}"
        )
    seen = pictures_in(path) if format == "auto" else format if format in PICTURES else None
    if seen is not None:
        return pictures.read(path, seen)
    if path.is_dir():
        only = _published_in(path)
        if only is None:
            return canonical.read_folder(path, mapping, progress=progress)
        path = only
    found = detect(path) if format == "auto" else format
    read = _READERS.get(found)
    if read is not None:
        return read(path, progress=progress)
    return canonical.read_file(path, mapping, progress=progress)


def pictures_in(path: Path) -> str | None:
    """The format of pictures alone: none where there are tables of ours or a publisher's file."""
    if path.is_dir() and (canonical.holds_tables(path) or _published_in(path) is not None):
        return None
    return pictures.detect(path)


def _published_in(folder: Path) -> Path | None:
    """The one file of a publisher in a folder without canonical tables."""
    if canonical.holds_tables(folder):
        return None
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    found = [path for path in files if detect(path) in PUBLISHED]
    return found[0] if len(found) == 1 else None


def detect(path: Path) -> str:
    """The format of a file, by its name and header."""
    if sequences.detects(path, []):
        return "sequences"
    if path.suffix == ".parquet":
        return "canonical"
    header = _header(path)
    for adapter in (online_retail, hillstrom, open_bandit):
        if adapter.detects(path, header):
            return adapter.__name__.rpartition(".")[2].replace("_", "-")
    return "csv"


def _header(path: Path) -> list[str]:
    try:
        names = pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns
    except (pd.errors.EmptyDataError, EOFError, OSError, ValueError):
        return []  # the reader says what is wrong, better than we could here
    return [str(name) for name in names]


def import_datasets(
    stage: Stage,
    path: Path,
    *,
    tenant: str,
    format: str = "auto",
    mapping: Mapping[str, str] | None = None,
    now: datetime | None = None,
    progress: Progress = _silent,
) -> list[ImportedDataset]:
    """Read and check everything at `path`, then upload it: one data set for each kind of log, the
    tenant's newest from then on. Who was erased is left out, also who is while it goes on."""
    now, suppression = now or datetime.now(UTC), suppressions.read(stage, tenant)
    datasets = read_sources(path, format=format, mapping=mapping, now=now, progress=progress)
    found = []
    for dataset in [without_erased(dataset, suppression) for dataset in datasets]:
        progress("writing", 0.7)
        with tempfile.TemporaryDirectory(prefix="nextbest-import-") as folder:
            write_dataset(dataset, Path(folder))
            found.append(_upload(stage, tenant, dataset, Path(folder), now=now, progress=progress))
    erase_late(stage, tenant, suppression)
    progress("done", 1.0)
    return found


def write_dataset(dataset: AnyDataset, folder: Path) -> list[Path]:
    """The canonical files of a data set."""
    if isinstance(dataset, NudgeDataset):
        return write_nudge_dataset(dataset, folder)
    if isinstance(dataset, ImageDataset):
        return write_image_dataset(dataset, folder)
    return write_shop(dataset, folder)


def _upload(
    stage: Stage,
    tenant: str,
    dataset: AnyDataset,
    folder: Path,
    *,
    now: datetime,
    progress: Progress,
) -> ImportedDataset:
    kind = _KIND_OF[type(dataset)]
    files, profile = sorted(folder.iterdir()), dataset.profile
    digest = _digest(files)
    s3 = stage.client("s3")
    latest = newest_dataset(stage, tenant, kind=kind)
    if latest is not None and latest["dataset_id"].endswith(f"-{digest}"):
        uri = stage.uri(latest["prefix"])
        return ImportedDataset(kind, latest["dataset_id"], uri, profile, unchanged=True)
    dataset_id = f"{now:%Y%m%dt%H%M%S}-{digest}"
    prefix = f"{stage.datasets_prefix(tenant)}/{dataset_id}"
    for number, file in enumerate(files):
        progress(f"uploading {file.name}", 0.8 + 0.2 * number / len(files))
        s3.upload_file(str(file), stage.bucket, f"{prefix}/{file.name}")
    pointer = {"dataset_id": dataset_id, "prefix": prefix, "imported_at": now.isoformat()}
    s3.put_object(
        Bucket=stage.bucket,
        Key=stage.dataset_pointer(tenant, kind),
        Body=json.dumps(pointer).encode(),
        ContentType="application/json",
    )
    return ImportedDataset(kind, dataset_id, stage.uri(prefix), profile, unchanged=False)


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as content:
            while chunk := content.read(1 << 20):
                digest.update(chunk)
    return digest.hexdigest()[:8]


def list_datasets(stage: Stage, tenant: str) -> list[str]:
    """Ids of a tenant's data sets, newest first."""
    prefix = f"{stage.datasets_prefix(tenant)}/"
    pages = stage.client("s3").get_paginator("list_objects_v2")
    found = [
        item["Prefix"].removeprefix(prefix).rstrip("/")
        for page in pages.paginate(Bucket=stage.bucket, Prefix=prefix, Delimiter="/")
        for item in page.get("CommonPrefixes", [])
    ]
    return sorted(found, reverse=True)
