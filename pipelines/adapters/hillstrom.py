"""The Hillstrom e-mail test as published: 64,000 customers, two e-mails or none by lot.

A randomised trial: each of the three arms had a third of the customers, whatever their context.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pipelines.adapters.raw import Raw
from training.columns import numbers, refuse, require_columns
from training.table_files import read_table

CONTEXT = ("recency", "history", "mens", "womens", "zip_code", "newbie", "channel")
NUMBERS = ("recency", "history", "mens", "womens", "newbie")
ACTIONS = {"No E-Mail": "none", "Mens E-Mail": "mens-email", "Womens E-Mail": "womens-email"}
_TABLE = "hillstrom"
# The file has no dates; the mailing went out in March 2008.
_SENT = pd.Timestamp("2008-03-20", tz="UTC")


def detects(path: Path, header: list[str]) -> bool:
    return {"segment", "visit", "conversion", "spend", "recency"} <= set(header)


def read(path: Path, *, progress: Callable[[float], None]) -> Raw:
    """Nudges with the reward `visit` (0/1), the value `spend` (dollars), and the three actions."""
    lines = read_table(path, progress=progress)
    require_columns(lines, ("segment", "visit", "spend", *CONTEXT), table=_TABLE)
    unknown = ~lines["segment"].isin(list(ACTIONS))
    rule = f"expected one of {', '.join(ACTIONS)}"
    refuse(lines, unknown, table=_TABLE, column="segment", rule=rule)
    names = [f"customer-{number:05d}" for number in range(1, len(lines) + 1)]
    nudges = pd.DataFrame(
        {
            "decision_id": [f"email-{name}" for name in names],
            "customer_id": names,
            "timestamp": _SENT,
            "action": lines["segment"].map(ACTIONS),
            "propensity": 1.0 / len(ACTIONS),
            "reward": numbers(lines, "visit", table=_TABLE),
            "value": numbers(lines, "spend", table=_TABLE),
        }
    )
    for column in CONTEXT:
        is_number = column in NUMBERS
        values = numbers(lines, column, table=_TABLE) if is_number else lines[column]
        nudges[f"context_{column}"] = values
    actions = pd.DataFrame({"action": list(ACTIONS.values())})
    notes = (
        "a randomised trial: every arm had a propensity of one third",
        "reward is the visit (0 or 1), value the spend in dollars; set costs with --set costs=…",
        "the file has no dates: all decisions carry that of the mailing",
    )
    return Raw(tables={"nudges": nudges, "actions": actions}, notes=notes)
