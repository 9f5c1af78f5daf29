"""A log of the Open Bandit Dataset as published: fashion items shown on a shop's front page.

Each line is one item in one of three positions, with the propensity it was drawn with there.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from pipelines.adapters.raw import Raw
from training.columns import numbers, require_columns
from training.table_files import read_table

COLUMNS = ("timestamp", "item_id", "position", "click", "propensity_score")
ITEMS = ("item_context.csv", "item_context.csv.xz")
_TABLE = "open bandit"
_AFFINITY = "user-item_affinity_"


def detects(path: Path, header: list[str]) -> bool:
    return {"item_id", "position", "click", "propensity_score"} <= set(header)


def read(path: Path, *, progress: Callable[[float], None]) -> Raw:
    """Nudges with the reward `click`; actions are the items of `item_context.csv` beside the
    file, or those that were shown where there is none."""
    lines = read_table(path, progress=progress)
    require_columns(lines, COLUMNS, table=_TABLE)
    nudges = pd.DataFrame(
        {
            "decision_id": [f"impression-{number}" for number in range(len(lines))],
            "customer_id": [f"visitor-{number}" for number in range(len(lines))],
            "timestamp": lines["timestamp"],
            "action": "item-" + lines["item_id"].astype(str),
            "propensity": numbers(lines, "propensity_score", table=_TABLE),
            "reward": numbers(lines, "click", table=_TABLE),
        }
    )
    context = {"context_position": "position " + lines["position"].astype(str)}
    context |= {f"context_{c}": lines[c] for c in lines.columns if c.startswith("user_feature_")}
    for column in (c for c in lines.columns if c.startswith(_AFFINITY)):
        context[f"context_affinity_{column.removeprefix(_AFFINITY)}"] = numbers(
            lines, column, table=_TABLE
        )
    nudges = pd.concat([nudges, pd.DataFrame(context)], axis=1)
    tables = {"nudges": nudges}
    actions = _actions(path.parent)
    if actions is not None:
        tables["actions"] = actions
    note = "the log names no users: every impression counts as another visitor"
    return Raw(tables=tables, notes=(note,))


def _actions(folder: Path) -> pd.DataFrame | None:
    found = [path for name in ITEMS if (path := folder / name).exists()]
    if not found:
        return None
    items = read_table(found[0])
    require_columns(items, ("item_id",), table="item_context")
    return pd.DataFrame({"action": "item-" + items["item_id"].astype(str)})
