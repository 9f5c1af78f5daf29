"""The canonical tables `nudges` and `actions`: reading, checking, setting aside, profiling.

Used by `nextbest data import` before anything is uploaded, and by `Prepare` in a job. The rules for
ids, times and numbers are those of `training.datasets`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from inference.guardrail_rules import NONE, ActionSpec, Condition, GuardrailRules
from training.columns import ids, numbers, refuse, require_columns, times
from training.errors import DataQualityError, NotEnoughDataError
from training.table_files import read_table

NUDGES = ("decision_id", "customer_id", "timestamp", "action", "propensity", "reward")
CONTEXT = "context_"
ELIGIBLE = "eligible"
DIVIDER = "|"
GUARDRAILS = "guardrails.json"
MAXIMUM_ACTIONS = 200
MINIMUM_DECISIONS = 200
_PLAIN = ("channel", "purpose")


@dataclass(frozen=True)
class NudgeDataset:
    """Clean tables. `nudges` has a row a decision, oldest first; `rejected` a column `reason`.

    A nudge's `eligible`, where the log has it, is a text `a|b|none`: what could have been drawn.
    """

    nudges: pd.DataFrame
    actions: tuple[ActionSpec, ...]
    guardrails: GuardrailRules = field(default_factory=GuardrailRules)
    rejected: pd.DataFrame = field(default_factory=pd.DataFrame)
    profile: dict[str, Any] = field(default_factory=dict)

    @property
    def context_columns(self) -> list[str]:
        return [str(c) for c in self.nudges.columns if str(c).startswith(CONTEXT)]


def build_nudge_dataset(
    tables: dict[str, pd.DataFrame],
    *,
    now: datetime,
    actions: tuple[ActionSpec, ...] | None = None,
    guardrails: GuardrailRules | None = None,
    notes: tuple[str, ...] = (),
) -> NudgeDataset:
    """Check raw tables; `actions` that are known already need no table.

    Raises `DataQualityError` or `NotEnoughDataError`.
    """
    nudges = _nudges(tables["nudges"], now=now)
    specs = actions or (_actions(tables["actions"]) if "actions" in tables else _actions_of(nudges))
    clean, rejected = _set_aside(nudges, [spec.action for spec in specs])
    _require_enough(clean)
    return NudgeDataset(
        nudges=clean,
        actions=specs,
        guardrails=guardrails or GuardrailRules(),
        rejected=rejected,
        profile=profile_of(clean, rejected, notes=notes),
    )


def read_nudge_dataset(folder: Path) -> NudgeDataset:
    """Read what `write_nudge_dataset` wrote. Raises `DataQualityError`."""
    path = folder / "nudges.parquet"
    if not path.exists():
        raise DataQualityError(
            f"{folder}: no nudges.parquet; a nudge policy is learned from logged decisions: "
            "nextbest data import PATH with a nudges table, or --format hillstrom, open-bandit"
        )
    actions = msgspec.json.decode((folder / "actions.json").read_bytes(), type=list[ActionSpec])
    return NudgeDataset(
        nudges=read_table(path),
        actions=tuple(actions),
        guardrails=read_guardrails(folder) or GuardrailRules(),
        profile=json.loads((folder / "profile.json").read_text(encoding="utf-8")),
    )


def write_nudge_dataset(dataset: NudgeDataset, folder: Path) -> list[Path]:
    """The canonical files; same content, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset.nudges.to_parquet(folder / "nudges.parquet", index=False)
    if len(dataset.rejected):
        dataset.rejected.astype(str).to_parquet(folder / "rejected.parquet", index=False)
    (folder / "actions.json").write_bytes(msgspec.json.encode(dataset.actions))
    (folder / GUARDRAILS).write_bytes(msgspec.json.encode(dataset.guardrails))
    (folder / "profile.json").write_text(json.dumps(dataset.profile, indent=1), encoding="utf-8")
    return sorted(folder.iterdir())


def read_guardrails(folder: Path) -> GuardrailRules | None:
    """The tenant's rules beside its tables, or None. Raises `DataQualityError` for a bad one."""
    path = folder / GUARDRAILS
    if not path.exists():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=GuardrailRules)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise DataQualityError(f"{path.name}: {error}") from error


def _nudges(raw: pd.DataFrame, *, now: datetime) -> pd.DataFrame:
    table = "nudges"
    require_columns(raw, NUDGES, table=table)
    columns: dict[str, pd.Series] = {
        "decision_id": ids(raw, "decision_id", table=table),
        "customer_id": ids(raw, "customer_id", table=table),
        "timestamp": times(raw, "timestamp", table=table, now=now),
        "action": ids(raw, "action", table=table),
        "propensity": _propensities(raw),
        "reward": _rewards(raw, "reward"),
    }
    if "value" in raw.columns:
        columns["value"] = _rewards(raw, "value")
    if ELIGIBLE in raw.columns:
        columns[ELIGIBLE] = ids(raw, ELIGIBLE, table=table)
        pairs = zip(columns["action"], columns[ELIGIBLE], strict=True)
        listed = [action in eligible.split(DIVIDER) for action, eligible in pairs]
        rule = "the action taken is not among those that were eligible"
        refuse(raw, ~pd.Series(listed), table=table, column=ELIGIBLE, rule=rule)
    for name in (str(c) for c in raw.columns if str(c).startswith(CONTEXT)):
        columns[name] = _context(raw[name])
    frame = pd.DataFrame(columns)
    return frame.sort_values("timestamp", kind="stable", ignore_index=True)


def _propensities(raw: pd.DataFrame) -> pd.Series:
    found = numbers(raw, "propensity", table="nudges")
    bad = ~((found > 0) & (found <= 1))
    rule = "the probability with which the action was drawn, expected above 0 and at most 1"
    refuse(raw, bad, table="nudges", column="propensity", rule=rule)
    return found


def _rewards(raw: pd.DataFrame, column: str) -> pd.Series:
    found = numbers(raw, column, table="nudges")
    rule = "empty; write 0 where nothing came of it"
    refuse(raw, found.isna(), table="nudges", column=column, rule=rule)
    return found


def with_values(nudges: pd.DataFrame) -> pd.DataFrame:
    """Nudges whose `value` is 0 where none came; without the column where none came at all."""
    if "value" not in nudges.columns:
        return nudges
    if nudges["value"].isna().all():
        return nudges.drop(columns="value")
    return nudges.assign(value=nudges["value"].fillna(0.0))


def _context(column: pd.Series) -> pd.Series:
    """Numbers where all that is there are numbers, else texts; empty is missing."""
    if pd.api.types.is_bool_dtype(column):
        return column.map({True: "true", False: "false"})
    if pd.api.types.is_numeric_dtype(column):
        return column.astype("float64").replace([np.inf, -np.inf], np.nan)
    empty = column.isna() | (column.astype(str).str.strip() == "")
    parsed = pd.to_numeric(column.where(~empty), errors="coerce")
    if (parsed.notna() | empty).all() and parsed.notna().any():
        return parsed.astype("float64")
    return column.astype(str).str.strip().where(~empty, None)


def _actions(raw: pd.DataFrame) -> tuple[ActionSpec, ...]:
    require_columns(raw, ("action",), table="actions")
    names = ids(raw, "action", table="actions")
    refuse(raw, names.duplicated(), table="actions", column="action", rule="the same action twice")
    typed = {c: numbers(raw, c, table="actions") for c in ("cost", "cooldown_days") if c in raw}
    specs = [_spec(name, raw.iloc[row], typed, row) for row, name in enumerate(names)]
    return _checked(specs)


def _spec(name: str, row: pd.Series, typed: dict[str, pd.Series], number: int) -> ActionSpec:
    values: dict[str, Any] = {"action": name}
    for column, series in typed.items():
        if not np.isnan(series.iloc[number]):
            values[column] = float(series.iloc[number])
    for column in ("valid_from", "valid_until", *_PLAIN, "conditions"):
        told = row.get(column)
        if told is None or told != told or str(told).strip() == "":
            continue
        values[column] = _plain(column, told, number)
    try:
        return msgspec.convert(values, ActionSpec)
    except (msgspec.ValidationError, ValueError) as error:
        raise DataQualityError(f"actions: row {number + 1}, action {name!r}: {error}") from error


def _plain(column: str, told: Any, number: int) -> Any:
    if column in _PLAIN:
        return str(told).strip()
    try:
        if column == "conditions":
            return msgspec.json.decode(str(told), type=list[Condition])
        moment = pd.Timestamp(told)
        utc = moment.tz_localize("UTC") if moment.tzinfo is None else moment.tz_convert("UTC")
        return utc.to_pydatetime()
    except (ValueError, msgspec.MsgspecError) as error:
        raise DataQualityError(f"actions.{column}: row {number + 1}: {told!r}: {error}") from error


def _actions_of(nudges: pd.DataFrame) -> tuple[ActionSpec, ...]:
    return _checked([ActionSpec(name) for name in sorted(nudges["action"].unique())])


def _checked(specs: list[ActionSpec]) -> tuple[ActionSpec, ...]:
    if not 2 <= len(specs) <= MAXIMUM_ACTIONS:
        raise DataQualityError(
            f"actions: {len(specs)} of them; a policy chooses among 2 to {MAXIMUM_ACTIONS} "
            f"('{NONE}', to do nothing, is one too)"
        )
    return tuple(specs)


def _set_aside(nudges: pd.DataFrame, actions: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    reason = pd.Series("", index=nudges.index)
    reason[~nudges["action"].isin(actions)] = "action not in the actions table"
    reason[nudges.duplicated("decision_id")] = "duplicate decision_id"
    out = reason != ""
    return nudges[~out].reset_index(drop=True), nudges[out].assign(reason=reason[out])


def _require_enough(nudges: pd.DataFrame) -> None:
    counts = nudges["action"].value_counts()
    if len(nudges) < MINIMUM_DECISIONS or len(counts) < 2:
        raise NotEnoughDataError(
            f"{len(nudges):,} logged decisions of {len(counts)} actions: at least "
            f"{MINIMUM_DECISIONS} decisions and two actions are needed to compare anything"
        )


def profile_of(
    nudges: pd.DataFrame, rejected: pd.DataFrame, *, notes: tuple[str, ...]
) -> dict[str, Any]:
    """What a log of nudges holds, as plain JSON."""
    first, last = nudges["timestamp"].min(), nudges["timestamp"].max()
    by_action = nudges.groupby("action")["reward"].agg(["size", "mean"])
    return {
        "table": "nudges",
        "rows": len(nudges),
        "customers": int(nudges["customer_id"].nunique()),
        "actions": {
            str(name): {"decisions": int(row["size"]), "mean_reward": round(float(row["mean"]), 6)}
            for name, row in by_action.iterrows()
        },
        "context": [c.removeprefix(CONTEXT) for c in nudges.columns if c.startswith(CONTEXT)],
        "smallest_propensity": float(nudges["propensity"].min()),
        "rewarded": int((nudges["reward"] != 0).sum()),
        "first": first.isoformat(),
        "last": last.isoformat(),
        "days": (last - first).days,
        "rejected": {str(k): int(v) for k, v in rejected["reason"].value_counts().items()}
        if len(rejected)
        else {},
        "notes": list(notes),
    }
