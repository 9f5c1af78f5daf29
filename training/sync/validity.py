"""Archived rows that no data set can hold, with the reason: set aside, never a sync's end.

Contracts guard the stream; what they allow and a canonical table does not is left out here, for
`training.datasets` would refuse the whole table.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
import numpy as np
import pandas as pd

from inference.archive_tables import TABLES
from training.columns import FUTURE_TOLERANCE

_EARLIEST = pd.Timestamp(0, tz="UTC")
_NEEDED: Mapping[str, tuple[str, ...]] = {
    "interactions": ("customer_id", "product_id", "event"),
    "products": ("product_id",),
    "customers": ("customer_id",),
    "erasures": ("customer_id",),
}
NO_TIME = "a time before 1970 or in the future"
NOT_DRAWN = "its propensity is not above 0 and at most 1"
NOT_ELIGIBLE = "the action taken is not among those that were eligible"


def sound(
    tables: Mapping[str, pd.DataFrame], *, now: datetime
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The rows that can be used, and the others as `table`, `id`, `reason`."""
    kept, aside = {}, []
    for name, frame in tables.items():
        reason = _reasons(name, frame, now=now)
        bad = reason != ""
        kept[name] = frame[~bad].reset_index(drop=True)
        identity = frame.loc[bad, TABLES[name].identity]
        aside.append(pd.DataFrame({"table": name, "id": identity, "reason": reason[bad]}))
    return kept, pd.concat(aside, ignore_index=True)


def _is_object(text: object) -> bool:
    """Whether a cell is a JSON object, or empty."""
    if not isinstance(text, str):
        return True
    try:
        return isinstance(msgspec.json.decode(text), dict)
    except msgspec.DecodeError:
        return False


def _reasons(name: str, frame: pd.DataFrame, *, now: datetime) -> pd.Series:
    reason = pd.Series("", index=frame.index, dtype=object)
    if name == "decisions":
        _check_decisions(frame, reason)
    if name == "rewards":
        reason[~np.isfinite(frame["reward"].astype("float64"))] = "no reward"
    for column in {"context", "attributes"} & set(frame.columns):
        reason[~frame[column].map(_is_object).astype(bool)] = f"its {column} is no JSON object"
    for column in _NEEDED.get(name, ()):
        reason[frame[column].isna() | (frame[column] == "")] = f"no {column}"
    time = frame[TABLES[name].time]
    reason[(time < _EARLIEST) | (time > pd.Timestamp(now) + FUTURE_TOLERANCE)] = NO_TIME
    return reason


def _check_decisions(frame: pd.DataFrame, reason: pd.Series) -> None:
    """Of nudges: a customer, a propensity, and an action that could have been drawn."""
    nudge = frame["action"].notna()
    propensity = frame["propensity"].astype("float64")
    listed = [
        eligible is None or len(eligible) == 0 or action in {one["action"] for one in eligible}
        for action, eligible in zip(frame["action"], frame["eligible"], strict=True)
    ]
    reason[nudge & ~pd.Series(listed, index=frame.index, dtype=bool)] = NOT_ELIGIBLE
    reason[nudge & ~((propensity > 0) & (propensity <= 1))] = NOT_DRAWN
    reason[nudge & (frame["customer_id"].isna() | (frame["customer_id"] == ""))] = "no customer_id"
