"""What became of every recommended slot: the table `slots`.

    decision_id, decision, position (from 1), product_id, propensity, score, explored, promoted,
    clicked, purchased

An interaction goes, like a reward, to the customer's last decision that showed the product, if that
was within `attribution_hours`. A decision's slots are final when that span is over.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pandas as pd

from training.sync.configuration import SyncRules

SLOTS = (
    "decision_id",
    "decision",
    "position",
    "product_id",
    "propensity",
    "score",
    "explored",
    "promoted",
    "clicked",
    "purchased",
)
_OF_DECISION = ("decision_id", "decision", "customer_id", "at")
_SHOWN = ("product_id", "score", "propensity", "explored", "promoted")


def slots_of(
    decisions: pd.DataFrame, interactions: pd.DataFrame, *, rules: SyncRules, now: datetime
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The slots of decisions whose span is over, in the decisions' order, and counts."""
    known = decisions["customer_id"].notna() & (decisions["customer_id"] != "")
    shown = _exploded(decisions[known])
    over = shown["at"] + pd.Timedelta(hours=rules.attribution_hours) <= pd.Timestamp(now)
    final = shown[over].copy()
    found = _attributed(shown, interactions, rules=rules)
    keys = pd.MultiIndex.from_frame(final[["decision_id", "product_id"]])
    for name, wanted in (("clicked", rules.clicks), ("purchased", rules.purchases)):
        hits = found.loc[found["event"].isin(wanted), ["decision_id", "product_id"]]
        final[name] = keys.isin(pd.MultiIndex.from_frame(hits))
    nobody = sum(len(_list(told)) for told in decisions.loc[~known, "slots"])
    return final[list(SLOTS)].reset_index(drop=True), {
        "slots": len(final),
        "clicked": int(final["clicked"].sum()),
        "purchased": int(final["purchased"].sum()),
        "waiting": int((~over).sum()),
        "without_customer": nobody,
    }


def _list(told: Any) -> list[dict[str, Any]]:
    return [] if told is None else list(told)


def _exploded(decisions: pd.DataFrame) -> pd.DataFrame:
    """A row a slot, with its decision's id, customer and time; a product counts once, where it
    stood first."""
    ordered = decisions.sort_values(["at", "decision_id"])
    columns = [ordered[name] for name in (*_OF_DECISION, "slots")]
    rows = [
        (*told, place, *(slot.get(name) for name in _SHOWN))
        for *told, slots in zip(*columns, strict=True)
        for place, slot in enumerate(_list(slots), 1)
    ]
    names = [*_OF_DECISION, "position", *_SHOWN]
    frame = pd.DataFrame(rows, columns=names).drop_duplicates(["decision_id", "product_id"])
    return frame.astype(
        {
            "decision_id": object,
            "decision": object,
            "customer_id": object,
            "product_id": object,
            "at": "datetime64[us, UTC]",
            "position": "int32",
            "score": "float64",
            "propensity": "float64",
            "explored": bool,
            "promoted": bool,
        }
    )


def _attributed(
    shown: pd.DataFrame, interactions: pd.DataFrame, *, rules: SyncRules
) -> pd.DataFrame:
    """`decision_id`, `product_id`, `event` of the interactions that a slot may have led to."""
    wanted = {*rules.clicks, *rules.purchases}
    asked = interactions.loc[
        interactions["event"].isin(wanted), ["customer_id", "product_id", "event", "timestamp"]
    ].astype({"customer_id": object, "product_id": object})
    found = pd.merge_asof(
        asked.sort_values("timestamp", kind="stable"),
        shown[["customer_id", "product_id", "at", "decision_id"]].sort_values(
            ["at", "decision_id"], kind="stable"
        ),
        left_on="timestamp",
        right_on="at",
        by=["customer_id", "product_id"],
        tolerance=pd.Timedelta(hours=rules.attribution_hours),
    )
    return found.loc[found["decision_id"].notna(), ["decision_id", "product_id", "event"]]
