"""Products and customers: the imported table, and what events have changed since.

Each attribute is a register that the newest event wins, by time and event id. An imported table
stands as of its import: only later events change it. A column has the type that it has in the
imported table; a value that is not of it is set aside.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from training.columns import holds_lists

AVAILABLE_FROM, AVAILABLE_UNTIL = "available_from", "available_until"
_OLDER = "older than the imported table"
_CHANGE = ("id", "name", "value", "at", "event_id")


@dataclass(frozen=True)
class Changed:
    """`table` is None where nothing is known. `counts` says how many rows and values changed,
    `aside` how many values did not apply, by reason."""

    table: pd.DataFrame | None
    counts: dict[str, int]
    aside: dict[str, int]


def changed_products(
    base: pd.DataFrame | None, events: pd.DataFrame, *, taken: pd.Series, since: datetime | None
) -> Changed:
    """The products table. Without an imported one it lists whatever was `taken` too: a product
    that no event tells of is not an unknown one."""
    if base is None:
        base = pd.DataFrame({"product_id": sorted(set(taken))}) if len(events) else None
        since = None
    return _changed(base, events, "product_id", since=since)


def changed_customers(
    base: pd.DataFrame | None, events: pd.DataFrame, *, since: datetime | None
) -> Changed:
    """The customers table."""
    if base is None:
        base = pd.DataFrame({"customer_id": []}, dtype=object) if len(events) else None
        since = None
    return _changed(base, events, "customer_id", since=since)


def _changed(
    base: pd.DataFrame | None, events: pd.DataFrame, key: str, *, since: datetime | None
) -> Changed:
    if base is None:
        return Changed(None, {"events": 0, "new": 0, "changed": 0}, {})
    later = events if since is None else events[events["timestamp"] > pd.Timestamp(since)]
    aside = Counter({_OLDER: len(events) - len(later)})
    fresh = sorted(set(later[key]) - set(base[key]))
    table = pd.concat([base, pd.DataFrame({key: fresh})], ignore_index=True) if fresh else base
    columns_of = list(zip(*_changes(later, key), strict=True)) or [()] * len(_CHANGE)
    told = {n: pd.Series(v, dtype=object) for n, v in zip(_CHANGE, columns_of, strict=True)}
    changes = pd.DataFrame(told)  # None stays None
    columns = {
        str(name): _with_values(table, str(name), given, key, aside=aside)
        for name, given in changes.groupby("name", sort=True)
    }
    counts = {
        "events": len(later),
        "new": len(fresh),
        "changed": int(later[key].nunique()) - len(fresh),
    }
    aside += Counter()  # without those that are 0
    return Changed(table.assign(**columns), counts, dict(aside))


def _changes(events: pd.DataFrame, key: str) -> Iterator[tuple[Any, ...]]:
    """What each event says, a register at a time: its attributes, and of a product its price and
    that it was available until then, or is from then on."""
    for row in events.to_dict("records"):
        told = json.loads(row["attributes"]) if isinstance(row["attributes"], str) else {}
        if pd.notna(row.get("price")):
            told["price"] = row["price"]
        if pd.notna(row.get("available")):
            told[AVAILABLE_UNTIL] = None if row["available"] else row["timestamp"].isoformat()
        for name, value in told.items():
            if name != key:
                yield (row[key], name, value, row["timestamp"], row["event_id"])


def _with_values(
    table: pd.DataFrame, name: str, given: pd.DataFrame, key: str, *, aside: Counter[str]
) -> pd.Series:
    """A column with the newest values of the right type."""
    column = table[name] if name in table.columns else None
    kind = _kind_of(name, column, given["value"])
    converted = [_converted(value, kind) for value in given["value"]]
    fits = [found is not _UNFIT for found in converted]
    aside[f"{name} is no {kind}"] += len(fits) - sum(fits)
    right = given.assign(value=pd.Series(converted, index=given.index, dtype=object))[fits]
    newest = right.sort_values(["at", "event_id"]).drop_duplicates("id", keep="last")
    told = dict(zip(newest["id"], newest["value"], strict=True))
    before = [None] * len(table) if column is None else column.tolist()
    values = [told.get(i, b) for i, b in zip(table[key], before, strict=True)]
    return _column(values, kind, index=table.index)


_UNFIT = object()


def _kind_of(name: str, column: pd.Series | None, values: pd.Series) -> str:
    if name in (AVAILABLE_FROM, AVAILABLE_UNTIL):
        return "time"
    if name == "price":
        return "number"
    if column is not None and column.notna().any():
        return _kind_of_column(column)
    told = [value for value in values if value is not None]
    for kind, types in (("flag", bool), ("list", list)):
        if told and all(isinstance(value, types) for value in told):
            return kind
    if told and all(isinstance(v, int | float) and not isinstance(v, bool) for v in told):
        return "number"
    return "text"


def _kind_of_column(column: pd.Series) -> str:
    if holds_lists(column):
        return "list"
    if column.dropna().map(lambda value: isinstance(value, bool)).all():
        return "flag"
    if pd.api.types.is_datetime64_any_dtype(column):
        return "time"
    return "number" if pd.api.types.is_numeric_dtype(column) else "text"


def _converted(value: Any, kind: str) -> Any:
    """A value of that kind, None as it is, or `_UNFIT`."""
    if value is None:
        return None
    if kind == "number":
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return float(value) if is_number else _UNFIT
    if kind == "time":
        moment = pd.to_datetime(value, utc=True, errors="coerce") if _is_text(value) else pd.NaT
        return _UNFIT if pd.isna(moment) else moment
    if kind == "text":
        return json.dumps(value) if not _is_text(value) else value
    wanted = bool if kind == "flag" else list
    return value if isinstance(value, wanted) else _UNFIT


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _column(values: list[Any], kind: str, *, index: pd.Index) -> pd.Series:
    if kind == "number":
        return pd.Series(values, index=index, dtype="float64")
    if kind == "time":
        times = pd.to_datetime(pd.Series(values, index=index, dtype=object), utc=True)
        return times.astype("datetime64[us, UTC]")
    missing = [
        None if not isinstance(v, list) and pd.api.types.is_scalar(v) and pd.isna(v) else v
        for v in values
    ]
    return pd.Series(missing, index=index, dtype=object)
