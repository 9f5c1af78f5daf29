"""The canonical tables of a data set: reading, checking, setting aside, profiling.

Used by `nextbest data import` before anything is uploaded, and by `Prepare` in a job. Bad data is
refused (`DataQualityError`); single rows that can do no harm are set aside and counted.
All ids are strings, all times UTC (a time without a zone is taken as UTC).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from training.columns import (
    holds_lists,
    ids,
    numbers,
    optional_times,
    refuse,
    require_columns,
    tags,
    times,
)
from training.errors import DataQualityError, NotEnoughDataError
from training.table_files import find_table, read_table

INTERACTIONS = ("customer_id", "product_id", "event", "timestamp")
OPTIONAL = ("value", "quantity", "session_id")
MINIMUM_CUSTOMERS = 20
MINIMUM_PRODUCTS = 5


@dataclass(frozen=True)
class Dataset:
    """Clean tables. `rejected` has a column `reason`; `profile` is plain JSON."""

    interactions: pd.DataFrame
    products: pd.DataFrame | None
    customers: pd.DataFrame | None
    rejected: pd.DataFrame
    profile: dict[str, Any]


def read_dataset(folder: Path) -> Dataset:
    """Read a canonical folder that `nextbest data import` wrote. Raises `DataQualityError`."""
    interactions = _required(folder, "interactions")
    require_columns(interactions, INTERACTIONS, table="interactions")
    profile_path = folder / "profile.json"
    return Dataset(
        interactions=interactions,
        products=_optional(folder, "products"),
        customers=_optional(folder, "customers"),
        rejected=pd.DataFrame(),
        profile=json.loads(profile_path.read_text()) if profile_path.exists() else {},
    )


def write_dataset(dataset: Dataset, folder: Path) -> list[Path]:
    """The canonical files that `read_dataset` reads; same content, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "interactions": dataset.interactions,
        "products": dataset.products,
        "customers": dataset.customers,
        "rejected": dataset.rejected if len(dataset.rejected) else None,
    }
    for name, table in tables.items():
        if table is not None:
            table.to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "profile.json").write_text(json.dumps(dataset.profile, indent=1), encoding="utf-8")
    return sorted(folder.iterdir())


def _required(folder: Path, table: str) -> pd.DataFrame:
    path = find_table(folder, table)
    if path is None:
        raise DataQualityError(
            f"{folder}: no {table} table; expected {table}.parquet or {table}.csv"
        )
    return read_table(path)


def _optional(folder: Path, table: str) -> pd.DataFrame | None:
    path = find_table(folder, table)
    return read_table(path) if path else None


def build_dataset(
    tables: dict[str, pd.DataFrame],
    *,
    now: datetime,
    ordered_by: str = "timestamp",
    notes: tuple[str, ...] = (),
    set_aside: pd.DataFrame | None = None,
) -> Dataset:
    """Check raw tables and make the canonical data set of them.

    `set_aside` are rows an adapter has taken out already, with their `reason`. Raises
    `DataQualityError` or `NotEnoughDataError`.
    """
    products = _products(tables["products"]) if "products" in tables else None
    clean = _interactions(tables["interactions"], now=now)
    clean, rejected = _set_aside(clean, products)
    if set_aside is not None and len(set_aside):
        rejected = pd.concat([set_aside.astype(str), rejected.astype(str)], ignore_index=True)
    _require_enough(clean)
    customers = _customers(tables["customers"]) if "customers" in tables else None
    profile = profile_of(clean, rejected, ordered_by=ordered_by, notes=notes)
    return Dataset(clean, products, customers, rejected, profile)


def _interactions(raw: pd.DataFrame, *, now: datetime) -> pd.DataFrame:
    table = "interactions"
    require_columns(raw, INTERACTIONS, table=table)
    frame = pd.DataFrame(
        {
            "customer_id": ids(raw, "customer_id", table=table),
            "product_id": ids(raw, "product_id", table=table),
            "event": ids(raw, "event", table=table),
            "timestamp": times(raw, "timestamp", table=table, now=now),
        }
    )
    for column in ("value", "quantity"):
        if column in raw.columns:
            frame[column] = numbers(raw, column, table=table)
    if "session_id" in raw.columns:
        sessions = raw["session_id"].astype(str).str.strip()
        frame["session_id"] = sessions.where(raw["session_id"].notna() & (sessions != ""))
    return frame.sort_values(["timestamp"], kind="stable", ignore_index=True)


def _products(raw: pd.DataFrame) -> pd.DataFrame:
    require_columns(raw, ("product_id",), table="products")
    frame = raw.copy()
    frame["product_id"] = ids(raw, "product_id", table="products")
    if "price" in frame.columns:
        frame["price"] = numbers(raw, "price", table="products")
    for column in {"available_from", "available_until"} & set(frame.columns):
        frame[column] = optional_times(raw, column, table="products")
    for column in frame.columns:
        if holds_lists(frame[column]):
            frame[column] = tags(frame, column, table="products")
    twice = frame["product_id"].duplicated()
    refuse(frame, twice, table="products", column="product_id", rule="the same product twice")
    return frame


def _customers(raw: pd.DataFrame) -> pd.DataFrame:
    require_columns(raw, ("customer_id",), table="customers")
    frame = raw.copy()
    frame["customer_id"] = ids(raw, "customer_id", table="customers")
    return frame


def _set_aside(
    frame: pd.DataFrame, products: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    keys = [c for c in (*INTERACTIONS, "session_id") if c in frame.columns]
    reason = pd.Series("", index=frame.index)
    reason[frame.duplicated(keys)] = "duplicate"
    if products is not None:
        unknown = ~frame["product_id"].isin(products["product_id"])
        reason[unknown] = "product not in the products table"
    out = reason != ""
    rejected = frame[out].assign(reason=reason[out])
    return frame[~out].reset_index(drop=True), rejected


def _require_enough(frame: pd.DataFrame) -> None:
    returning = int((frame.groupby("customer_id").size() >= 2).sum())
    products = frame["product_id"].nunique()
    if returning < MINIMUM_CUSTOMERS or products < MINIMUM_PRODUCTS:
        raise NotEnoughDataError(
            f"{len(frame):,} interactions, {returning} customers with two or more of them, "
            f"{products} products: at least {MINIMUM_CUSTOMERS} such customers and "
            f"{MINIMUM_PRODUCTS} products are needed to learn anything"
        )


def profile_of(
    frame: pd.DataFrame, rejected: pd.DataFrame, *, ordered_by: str, notes: tuple[str, ...]
) -> dict[str, Any]:
    """What a data set holds, as plain JSON."""
    first, last = frame["timestamp"].min(), frame["timestamp"].max()
    timed = ordered_by == "timestamp"
    repeats = frame.duplicated(["customer_id", "product_id"])
    return {
        "rows": len(frame),
        "customers": int(frame["customer_id"].nunique()),
        "products": int(frame["product_id"].nunique()),
        "ordered_by": ordered_by,
        "first": first.isoformat() if timed else None,
        "last": last.isoformat() if timed else None,
        "days": (last - first).days if timed else None,
        "events": {str(k): int(v) for k, v in frame["event"].value_counts().items()},
        "repeat_share": round(float(repeats.mean()), 4),
        "rejected": {str(k): int(v) for k, v in rejected["reason"].value_counts().items()}
        if len(rejected)
        else {},
        "notes": list(notes),
    }
