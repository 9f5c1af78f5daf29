"""`nextbest data join`: a shop's own logs of decisions and of rewards → the table `nudges`.

For who logs decisions by himself: what was decided stands in one file, what came of it in another.
`training.nudge.joining` says which reward is whose.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd

from training.columns import ids, numbers, optional_ids, require_columns, times
from training.configuration import parse
from training.errors import DataQualityError
from training.nudge.joining import Joined, JoiningRules, join
from training.nudge.tables import CONTEXT, with_values
from training.table_files import read_table

DECISIONS = ("decision_id", "customer_id", "timestamp", "action", "propensity")
REWARDS = ("event_id", "timestamp", "reward")
_NAMES = ("decision_id", "customer_id", "action")
_FILE = "nudges.parquet"
_ADVICE = "If one of them is it, call it {column}"


def rules_of(**values: float | str) -> JoiningRules:
    """Rules from the command line's values. Raises `ConfigurationError`."""
    return parse(JoiningRules, values, where="join")


def join_files(
    decisions: Path, rewards: Path, *, rules: JoiningRules, now: datetime, target: Path
) -> Joined:
    """Join two files (CSV or Parquet) and write `nudges.parquet` and `unjoined.parquet` into
    `target`, made if absent. Raises `DataQualityError`."""
    made = _decisions(_table(decisions), now=now)
    given = _rewards(_table(rewards), now=now)
    joined = join(made, given, rules=rules, now=now)
    target.mkdir(parents=True, exist_ok=True)
    with_values(joined.nudges).to_parquet(target / _FILE, index=False)
    joined.unjoined.to_parquet(target / "unjoined.parquet", index=False)
    return joined


def _table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataQualityError(f"{path}: there is no such file")
    return read_table(path)


def _decisions(raw: pd.DataFrame, *, now: datetime) -> pd.DataFrame:
    table = "decisions"
    require_columns(raw, DECISIONS, table=table, advice=_ADVICE)
    context = [column for column in raw.columns if str(column).startswith(CONTEXT)]
    told = raw[context].rename(columns=lambda name: str(name).removeprefix(CONTEXT))
    return pd.DataFrame(
        {
            **{name: ids(raw, name, table=table) for name in _NAMES},
            "at": times(raw, "timestamp", table=table, now=now),
            "propensity": numbers(raw, "propensity", table=table),
            "context": told.to_dict("records"),
        }
    )


def _rewards(raw: pd.DataFrame, *, now: datetime) -> pd.DataFrame:
    """A reward may do without a value, and without a decision or a customer, though not both."""
    table = "rewards"
    require_columns(raw, REWARDS, table=table, advice=_ADVICE)
    full = raw.reindex(columns=[*raw.columns, *({*_NAMES, "value"} - set(raw.columns))])
    return pd.DataFrame(
        {
            "event_id": ids(full, "event_id", table=table),
            "timestamp": times(full, "timestamp", table=table, now=now),
            **{name: optional_ids(full, name, table=table) for name in _NAMES},
            "reward": numbers(full, "reward", table=table),
            "value": numbers(full, "value", table=table),
        }
    )
