"""The data set of nudges: the imported one, and decisions of the archive joined with rewards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from inference.guardrail_rules import ActionSpec
from training.errors import NotEnoughDataError
from training.nudge.actions import valid_then
from training.nudge.joining import DECISIONS, Joined, join
from training.nudge.tables import (
    CONTEXT,
    DIVIDER,
    ELIGIBLE,
    NudgeDataset,
    build_nudge_dataset,
    with_values,
)
from training.sync.configuration import SyncRules

NOTHING = "no decision about a nudge is archived"
_NO_LOG = "no decision about a nudge has waited long enough"


@dataclass(frozen=True)
class Log:
    """`dataset` is None where there is nothing to make one of, and `why` says so."""

    dataset: NudgeDataset | None
    joined: Joined
    imported: int
    why: str = ""


def log_of(
    base: NudgeDataset | None,
    tables: dict[str, pd.DataFrame],
    *,
    rules: SyncRules,
    now: datetime,
) -> Log:
    """The canonical data set of an import and of what the archive says was decided and came of it.

    An imported decision is as it was imported, whatever the archive says of it.
    """
    made = nudge_decisions(tables["decisions"])
    joined = join(made[list(DECISIONS)], tables["rewards"], rules=rules, now=now)
    imported = 0 if base is None else len(base.nudges)
    if not len(made) and not len(tables["erasures"]):
        return Log(None, joined, imported, why=NOTHING)
    table = _both(base, _with_eligible(joined.nudges, made))
    try:
        return Log(_dataset(base, table, now=now), joined, imported)
    except NotEnoughDataError as error:
        return Log(None, joined, imported, why=str(error))


def nudge_decisions(decisions: pd.DataFrame) -> pd.DataFrame:
    """Decisions about a nudge, with `context` as a dict of scalars and `eligible` as a text, None
    where nobody wrote it down."""
    frame = decisions[decisions["action"].notna()].reset_index(drop=True)
    texts = [
        DIVIDER.join(one["action"] for one in told) if told is not None and len(told) else None
        for told in frame["eligible"]
    ]
    contexts = [_context(text) for text in frame["context"]]
    return frame.assign(
        context=pd.Series(contexts, index=frame.index, dtype=object),
        eligible=pd.Series(texts, index=frame.index, dtype=object),
    )


def _context(text: object) -> dict[str, object]:
    """A context's scalars; yes and no as the words that serving has for them."""
    told = json.loads(text) if isinstance(text, str) and text else {}
    return {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in told.items()
        if not isinstance(value, list | dict)
    }


def context_of(made: pd.DataFrame) -> pd.DataFrame:
    """The contexts of `nudge_decisions` as canonical columns."""
    frame = pd.DataFrame(made["context"].tolist(), index=made.index)
    return frame[sorted(frame.columns)].add_prefix(CONTEXT)


def _with_eligible(nudges: pd.DataFrame, made: pd.DataFrame) -> pd.DataFrame:
    eligible = made.set_index("decision_id")[ELIGIBLE].reindex(nudges["decision_id"])
    return nudges.assign(eligible=eligible.to_numpy(dtype=object))


def _both(base: NudgeDataset | None, archived: pd.DataFrame) -> pd.DataFrame:
    """All decisions; what only one of the two has is filled with what it means to be absent."""
    table = archived
    if base is not None:
        fresh = archived[~archived["decision_id"].isin(base.nudges["decision_id"])]
        table = pd.concat([base.nudges, fresh], ignore_index=True)
    table = with_values(table)
    if table[ELIGIBLE].isna().all():
        return table.drop(columns=ELIGIBLE)
    specs = base.actions if base else [ActionSpec(name) for name in sorted(set(table["action"]))]
    missing = table[ELIGIBLE].isna()
    table.loc[missing, ELIGIBLE] = _all_valid(table[missing], list(specs))
    return table


def _all_valid(nudges: pd.DataFrame, specs: list[ActionSpec]) -> list[str]:
    """What could have been drawn where nobody said: every action that was valid then."""
    columns = [valid_then(nudges["timestamp"], spec) for spec in specs]
    names = [spec.action for spec in specs]
    return [
        DIVIDER.join(dict.fromkeys([*(n for n, ok in zip(names, row, strict=True) if ok), taken]))
        for *row, taken in zip(*columns, nudges["action"], strict=True)
    ]


def _dataset(base: NudgeDataset | None, table: pd.DataFrame, *, now: datetime) -> NudgeDataset:
    if base is None and table["action"].nunique() < 2:
        raise NotEnoughDataError(
            f"{_NO_LOG}: {len(table):,} of {table['action'].nunique()} actions; two are the least"
        )
    return build_nudge_dataset(
        {"nudges": table},
        now=now,
        actions=base.actions if base else None,
        guardrails=base.guardrails if base else None,
        notes=tuple(base.profile.get("notes", ())) if base else (),
    )
