"""The account of a sync, `sync.json`: what was read, joined, made, left out, and why."""

from __future__ import annotations

from typing import Any

import pandas as pd

from training.configuration import to_strings
from training.drift import Drift, drift_of
from training.sync.configuration import SyncRules
from training.sync.interactions import Shop
from training.sync.material import Material
from training.sync.nudges import Log, context_of, nudge_decisions
from training.sync.tables import row_counts


def account_of(
    material: Material,
    shop: Shop | None,
    log: Log,
    *,
    why_no_shop: str,
    slots: dict[str, int],
    rules: SyncRules,
) -> dict[str, Any]:
    """Everything that a person or a machine asks of a sync afterwards."""
    return {
        "id": material.plan.id,
        "now": material.plan.now.isoformat(),
        "rules": to_strings(rules),
        "unreadable": material.archived.unreadable,
        "events": row_counts(material.archived),
        "set_aside": _reasons(material.set_aside),
        "erasures": material.erasures,
        "interactions": _of_shop(material, shop, why_no_shop),
        "nudges": _of_log(log),
        "slots": slots,
        "drift": _drift(material, shop).as_json(),
        "next_due": _next_due(material, rules=rules),
    }


def _reasons(set_aside: pd.DataFrame) -> dict[str, int]:
    counts = set_aside.groupby(["table", "reason"], sort=True).size()
    return {f"{table}: {reason}": int(n) for (table, reason), n in counts.items()}


def _of_shop(material: Material, shop: Shop | None, why: str) -> dict[str, Any]:
    if shop is None:
        return {"made": False, "why": why}
    profile = shop.dataset.profile
    return {
        "made": True,
        "imported": 0 if material.shop is None else len(material.shop.interactions),
        **{name: profile[name] for name in ("rows", "customers", "products", "first", "last")},
        "rejected": profile["rejected"],
        "products_changed": {**shop.products.counts, "set_aside": shop.products.aside},
        "customers_changed": {**shop.customers.counts, "set_aside": shop.customers.aside},
    }


def _of_log(log: Log) -> dict[str, Any]:
    found = {"imported": log.imported, "joined": log.joined.counts}
    if log.dataset is None:
        return {"made": False, "why": log.why, **found}
    profile = log.dataset.profile
    return {"made": True, "rows": profile["rows"], "rejected": profile["rejected"], **found}


def _drift(material: Material, shop: Shop | None) -> Drift:
    """What this reading brought beside the import and what was read before."""
    tables, fresh = material.tables, material.archived.fresh
    interactions = tables["interactions"]
    is_new = interactions["event_id"].isin(fresh["interactions"])
    imported = [material.shop.interactions] if material.shop else []
    made = nudge_decisions(tables["decisions"])
    is_made = made["decision_id"].isin(fresh["decisions"])
    told = pd.concat([made[["action"]], context_of(made)], axis=1)
    logged = (
        [material.log.nudges[["action", *material.log.context_columns]]] if material.log else []
    )
    table = shop.products.table if shop else None
    return drift_of(
        _stacked([interactions[~is_new], *imported]),
        interactions[is_new],
        products=None if table is None else table["product_id"],
        nudges_before=_stacked([told[~is_made], *logged]),
        nudges_new=told[is_made],
    )


def _stacked(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """All rows; a part without any has no say in the columns' types."""
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _next_due(material: Material, *, rules: SyncRules) -> str | None:
    """When the next decision has waited long enough, though no event comes."""
    decisions = material.tables["decisions"]
    nudged = decisions["action"].notna()
    spans = {True: rules.reward_wait_hours, False: rules.attribution_hours}
    due = [
        decisions.loc[nudged == is_nudge, "at"] + pd.Timedelta(hours=hours)
        for is_nudge, hours in spans.items()
    ]
    waiting = pd.concat(due)
    waiting = waiting[waiting > pd.Timestamp(material.plan.now)]
    return waiting.min().isoformat() if len(waiting) else None
