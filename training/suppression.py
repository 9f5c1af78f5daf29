"""Tables without those who were erased. Used in jobs by Prepare, and by imports, syncs, erasures.

    suppression = read_suppression(job.channel("suppression"))
    kept = without_suppressed(interactions, suppression)
    dropped = len(interactions) - len(kept)

`pipelines.suppressions.read` gives a tenant's list outside of jobs. With an empty list a table
comes back as it is, at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import parquet as files

from inference.suppression import FILE, NOBODY, Suppression, decode_suppression

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER, _WHENEVER = np.iinfo(np.int64).min, np.iinfo(np.int64).max
_CUSTOMER, _TIMES = "customer_id", ("timestamp", "at")


def read_suppression(folder: Path) -> Suppression:
    """The list in a job's channel; nobody where there is none. Raises `SuppressionError`."""
    path = folder / FILE
    return decode_suppression(path.read_bytes()) if path.exists() else NOBODY


def without_suppressed(
    table: pd.DataFrame, suppression: Suppression, *, time: str | None = "timestamp"
) -> pd.DataFrame:
    """The rows that may be kept, in order and numbered anew: those of nobody (`customer_id` empty),
    of others, and what happened after an erasure.

    `time` is the column of UTC times; None where rows have none: all of an erased customer go.
    """
    if not suppression.erased or not len(table):
        return table
    times = None if time is None else table[time]
    keep = kept(table["customer_id"], times, suppression)
    return table if keep.all() else table[keep].reset_index(drop=True)


def kept(
    customers: pd.Series,
    times: pd.Series | None,
    suppression: Suppression,
    *,
    written_at: datetime | None = None,
) -> np.ndarray:
    """Which rows may be kept, bool (n,). Each distinct id is hashed once.

    Of a customer erased at `written_at` or later no row is: all of them were known by then,
    whatever their times say.
    """
    codes, distinct = pd.factorize(customers)
    limits = np.full(len(distinct) + 1, _NEVER)  # the last is of no id, whose code is -1
    for code, customer in enumerate(distinct):
        erased = suppression.erased_at(str(customer))
        if erased is not None:
            known = written_at is not None and written_at <= erased
            limits[code] = _WHENEVER if known else (erased - _EPOCH) // timedelta(microseconds=1)
    others = limits[codes] == _NEVER
    if times is None or others.all():
        return others
    return np.asarray(others | (_microseconds(times) > limits[codes]))


def _microseconds(times: pd.Series) -> np.ndarray:
    return times.astype("datetime64[us, UTC]").astype("int64").to_numpy()


@dataclass(frozen=True)
class Stripped:
    """How many rows of a file were the erased customers', and how many are left."""

    removed: int
    left: int


def strip_file(
    source: Path, target: Path, suppression: Suppression, *, written_at: datetime | None = None
) -> Stripped:
    """Write a Parquet file without the rows of who was erased: same schema, same compression, a row
    group at a time. Nothing is written where nothing is to be removed, or nothing is left.

    A table without `customer_id` has nothing to remove. Its time is `timestamp`, else `at`; without
    one, or where that is no time, all of an erased customer go. Raises `pyarrow.ArrowException` for
    a file that is no Parquet.
    """
    with files.ParquetFile(source) as file:
        masks = _masks(file, suppression, written_at)
        left = sum(int(mask.sum()) for mask in masks)
        found = Stripped(file.metadata.num_rows - left, left)
        if found.removed and found.left:
            _write(file, target, masks)
    return found


def _masks(
    file: files.ParquetFile, suppression: Suppression, written_at: datetime | None
) -> list[np.ndarray]:
    """Which rows may be kept, of each row group."""
    schema, groups = file.schema_arrow, range(file.num_row_groups)
    if _CUSTOMER not in schema.names or not suppression.erased:
        return [np.full(file.metadata.row_group(group).num_rows, True) for group in groups]
    timed = [n for n in _TIMES if n in schema.names and pa.types.is_timestamp(schema.field(n).type)]
    masks = []
    for group in groups:
        frame = file.read_row_group(group, columns=[_CUSTOMER, *timed[:1]]).to_pandas()
        times = frame[timed[0]] if timed else None
        masks.append(kept(frame[_CUSTOMER], times, suppression, written_at=written_at))
    return masks


def _write(file: files.ParquetFile, target: Path, masks: list[np.ndarray]) -> None:
    compression = file.metadata.row_group(0).column(0).compression.lower()
    compression = "none" if compression == "uncompressed" else compression
    with files.ParquetWriter(target, file.schema_arrow, compression=compression) as writer:
        for group, mask in enumerate(masks):
            if mask.any():
                writer.write_table(file.read_row_group(group).filter(pa.array(mask)))
