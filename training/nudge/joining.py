"""Joining: decisions of the archive + rewards → `nudges`. Pure; runs in a job or a laptop.

A nudge's reward is a function of the sets of decisions and rewards: neither their order nor what
was delivered twice matters, nor when the joining runs, once the decision's wait is over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec
import numpy as np
import pandas as pd

from training.columns import require_columns
from training.errors import ConfigurationError
from training.nudge.tables import CONTEXT, NUDGES

DECISIONS = ("decision_id", "customer_id", "at", "action", "propensity", "context")
REWARDS = ("event_id", "timestamp", "decision_id", "customer_id", "action", "reward", "value")
TEXTS = ("event_id", "decision_id", "customer_id", "action")
UNKNOWN = "no such decision"
EARLY = "earlier than its decision"
LATE = "later than its decision waits"
NOBODY = "names neither a decision nor a customer"
UNATTRIBUTED = "no decision for the customer within attribution_hours"


class JoiningRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How rewards find their decisions.

    A decision waits `reward_wait_hours`, then its reward is final: `default_reward` where none
    came, and of `several` their sum, the greatest or the first. A reward that names no decision
    goes to its customer's last one (of its action, if it names one) of `attribution_hours`.
    """

    attribution_hours: float = 24.0
    reward_wait_hours: float = 72.0
    several: Literal["sum", "max", "first"] = "max"
    default_reward: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.attribution_hours <= self.reward_wait_hours < float("inf"):
            raise ConfigurationError(
                f"attribution_hours={self.attribution_hours:g}, reward_wait_hours="
                f"{self.reward_wait_hours:g}: expected 0 < attribution_hours <= reward_wait_hours; "
                "a reward that comes after the wait would change what is final"
            )
        if not np.isfinite(self.default_reward):
            raise ConfigurationError(f"default_reward={self.default_reward}: expected a number")


@dataclass(frozen=True)
class Joined:
    """`nudges` is the canonical table, oldest first. `waiting` are the ids of decisions whose
    wait is not over. `unjoined` are rewards with their `reason`. `counts` is plain JSON."""

    nudges: pd.DataFrame
    waiting: list[str]
    unjoined: pd.DataFrame
    counts: dict[str, int]


def join(
    decisions: pd.DataFrame, rewards: pd.DataFrame, *, rules: JoiningRules, now: datetime
) -> Joined:
    """Join rows of the archive's `decisions` (`at` UTC, `context` a dict of scalars, an `action`)
    with those of `rewards`. Raises `DataQualityError` for a missing column."""
    require_columns(decisions, DECISIONS, table="decisions")
    require_columns(rewards, REWARDS, table="rewards")
    made = _distinct(decisions, "decision_id", by=("at", "customer_id", "action", "propensity"))
    given = _distinct(rewards, "event_id", by=[c for c in REWARDS if c != "event_id"])
    found = _attributed(made, given, rules=rules)
    reason = _reasons(found, rules=rules)
    is_over = made["at"] + _hours(rules.reward_wait_hours) <= pd.Timestamp(now)
    joined = found[reason == ""]
    nudges = _nudges(made[is_over], _rewards(joined, rules=rules), rules=rules)
    unjoined = found.loc[reason != "", list(REWARDS)].assign(reason=reason[reason != ""])
    return Joined(
        nudges=nudges,
        waiting=sorted(made.loc[~is_over, "decision_id"]),
        unjoined=unjoined.reset_index(drop=True),
        counts=_counts(decisions, rewards, joined=joined, nudges=nudges, unjoined=unjoined),
    )


def _hours(hours: float) -> pd.Timedelta:
    return pd.Timedelta(hours=hours)


def _distinct(
    frame: pd.DataFrame, identity: str, *, by: tuple[str, ...] | list[str]
) -> pd.DataFrame:
    """One row an id. Were two unlike rows to share one, the same of them wins in any order."""
    ordered = frame.sort_values([*by, identity], kind="stable", ignore_index=True)
    # Text and a column without any are of two dtypes, which a join refuses.
    texts = {c: object for c in TEXTS if c in frame.columns}
    ordered = ordered.astype(texts)
    return ordered.drop_duplicates(identity, ignore_index=True)


def _attributed(made: pd.DataFrame, given: pd.DataFrame, *, rules: JoiningRules) -> pd.DataFrame:
    """The rewards with `found`, the id of their decision or None, and `at`, its time."""
    named = given["decision_id"].notna()
    target = given["decision_id"].astype(object).where(named, None)
    for with_action in (False, True):
        keys = ["customer_id", "action"] if with_action else ["customer_id"]
        rows = ~named & given["customer_id"].notna() & (given["action"].notna() == with_action)
        target[rows] = _last_before(made, given[rows], keys=keys, rules=rules)
    times = made.set_index("decision_id")["at"]
    return given.assign(found=target, at=times.reindex(target.to_numpy()).set_axis(given.index))


def _last_before(
    made: pd.DataFrame, given: pd.DataFrame, *, keys: list[str], rules: JoiningRules
) -> pd.Series:
    """The id of the last decision with the same `keys` within the window; of two at one moment,
    that of the greater id."""
    ordered = made.sort_values(["at", "decision_id"], kind="stable")
    known = ordered[[*keys, "at", "decision_id"]].rename(columns={"decision_id": "last"})
    asked = given.assign(row=given.index).sort_values("timestamp", kind="stable")
    merged = pd.merge_asof(
        asked[[*keys, "timestamp", "row"]],
        known,
        left_on="timestamp",
        right_on="at",
        by=keys,
        tolerance=_hours(rules.attribution_hours),
    )
    return merged.set_index("row")["last"].astype(object).reindex(given.index)


def _reasons(found: pd.DataFrame, *, rules: JoiningRules) -> pd.Series:
    """Why a reward is not joined; empty where it is."""
    named, someone = found["decision_id"].notna(), found["customer_id"].notna()
    age = found["timestamp"] - found["at"]
    reason = pd.Series("", index=found.index, dtype=object)
    reason[age > _hours(rules.reward_wait_hours)] = LATE
    reason[age < _hours(0)] = EARLY
    reason[found["at"].isna() & named] = UNKNOWN
    reason[found["at"].isna() & ~named & someone] = UNATTRIBUTED
    reason[~named & ~someone] = NOBODY
    return reason


def _rewards(joined: pd.DataFrame, *, rules: JoiningRules) -> pd.DataFrame:
    """`reward` and `value` by decision id. With `max` and `first` both are one event's."""
    if rules.several == "sum":
        return joined.groupby("found")[["reward", "value"]].sum(min_count=1)
    first = ["timestamp", "event_id"]
    order = first if rules.several == "first" else ["reward", *first]
    ascending = [rules.several == "first"] + [True] * (len(order) - 1)
    best = joined.sort_values(order, ascending=ascending, kind="stable")
    return best.drop_duplicates("found").set_index("found")[["reward", "value"]]


def _nudges(made: pd.DataFrame, rewards: pd.DataFrame, *, rules: JoiningRules) -> pd.DataFrame:
    """The canonical table, oldest first; a context's key becomes a column."""
    frame = made.sort_values(["at", "decision_id"], kind="stable", ignore_index=True)
    frame = frame.rename(columns={"at": "timestamp"})
    found = rewards.reindex(frame["decision_id"]).reset_index(drop=True)
    frame["reward"] = found["reward"].astype("float64").fillna(rules.default_reward)
    frame["value"] = found["value"].astype("float64")
    context = pd.DataFrame(list(frame["context"].map(lambda given: given or {})), index=frame.index)
    context = context[sorted(context.columns)].add_prefix(CONTEXT)
    return pd.concat([frame[[*NUDGES, "value"]], context], axis=1)


def _counts(
    decisions: pd.DataFrame,
    rewards: pd.DataFrame,
    *,
    joined: pd.DataFrame,
    nudges: pd.DataFrame,
    unjoined: pd.DataFrame,
) -> dict[str, int]:
    made, given = decisions["decision_id"].nunique(), rewards["event_id"].nunique()
    rewarded = int(nudges["decision_id"].isin(joined["found"]).sum())
    return {
        "decisions": made,
        "duplicate_decisions": len(decisions) - made,
        "nudges": len(nudges),
        "rewarded": rewarded,
        "defaulted": len(nudges) - rewarded,
        "waiting": made - len(nudges),
        "rewards": given,
        "duplicate_rewards": len(rewards) - given,
        "rewards_joined": len(joined),
        **{f"unjoined: {name}": int(n) for name, n in unjoined["reason"].value_counts().items()},
    }
