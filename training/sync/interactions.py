"""The data set of interactions: the imported one and all archived interactions.

Rows of the import come first: an archived interaction that says the same as an imported one is its
duplicate.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from training.datasets import Dataset, build_dataset
from training.sync.catalogue import Changed, changed_customers, changed_products

_COLUMNS = ("customer_id", "product_id", "event", "timestamp", "value", "quantity", "session_id")
_OPTIONAL = ("value", "quantity", "session_id")


@dataclass(frozen=True)
class Shop:
    """`products` and `customers` say what events changed of them."""

    dataset: Dataset
    products: Changed
    customers: Changed


def shop_of(
    base: Dataset | None,
    tables: dict[str, pd.DataFrame],
    *,
    set_aside: pd.DataFrame,
    since: datetime | None,
    now: datetime,
) -> Shop:
    """The canonical data set of an import and archived rows. `set_aside` are rows that cannot be
    used; `since` is when the import was made.

    Raises `NotEnoughDataError`, or `DataQualityError` of the import.
    """
    interactions = _both(base, tables["interactions"])
    products = changed_products(
        base.products if base else None,
        tables["products"],
        taken=interactions["product_id"],
        since=since,
    )
    customers = changed_customers(
        base.customers if base else None, tables["customers"], since=since
    )
    raw = {
        "interactions": interactions,
        **({"products": products.table} if products.table is not None else {}),
        **({"customers": customers.table} if customers.table is not None else {}),
    }
    profile = base.profile if base else {}
    dataset = build_dataset(
        raw,
        now=now,
        ordered_by=profile.get("ordered_by", "timestamp"),
        notes=tuple(profile.get("notes", ())),
        set_aside=set_aside,
    )
    return Shop(dataset, products, customers)


def _both(base: Dataset | None, archived: pd.DataFrame) -> pd.DataFrame:
    """All rows, imported ones first; of the optional columns those that somebody filled."""
    columns = list(_COLUMNS)
    fresh = archived.sort_values(["timestamp", "event_id"])[columns]
    frame = (
        fresh
        if base is None
        else pd.concat([base.interactions.reindex(columns=columns), fresh], ignore_index=True)
    )
    empty = [column for column in _OPTIONAL if frame[column].isna().all()]
    return frame.drop(columns=empty).reset_index(drop=True)
