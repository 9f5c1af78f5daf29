"""Tables without those who were erased. Used in jobs by Prepare, and by every import and sync.

    suppression = read_suppression(job.channel("suppression"))
    kept = without_suppressed(interactions, suppression)
    dropped = len(interactions) - len(kept)

`pipelines.suppressions.read` gives a tenant's list outside of jobs. With an empty list a table
comes back as it is, at no cost.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from inference.suppression import FILE, NOBODY, Suppression, decode_suppression

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER = np.iinfo(np.int64).min


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


def kept(customers: pd.Series, times: pd.Series | None, suppression: Suppression) -> np.ndarray:
    """Which rows `without_suppressed` keeps, bool (n,). Each distinct id is hashed once."""
    codes, distinct = pd.factorize(customers)
    limits = np.full(len(distinct) + 1, _NEVER)  # the last is of no id, whose code is -1
    for code, customer in enumerate(distinct):
        erased = suppression.erased_at(str(customer))
        if erased is not None:
            limits[code] = (erased - _EPOCH) // timedelta(microseconds=1)
    others = limits[codes] == _NEVER
    if times is None or others.all():
        return others
    return np.asarray(others | (_microseconds(times) > limits[codes]))


def _microseconds(times: pd.Series) -> np.ndarray:
    return times.astype("datetime64[us, UTC]").astype("int64").to_numpy()
