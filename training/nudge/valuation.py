"""Every policy of a report on one log: probabilities, estimates, paired differences.

Each part of the log is looked at through a policy that never saw it, by the code that serves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from inference.policy import Policy
from training.nudge.bounds import (
    Groups,
    Range,
    betting_interval,
    betting_lower,
    empirical_bernstein_lower,
)
from training.nudge.off_policy import Log, dr
from training.nudge.prepare import Prepared

_ROWS_AT_ONCE = 2000


@dataclass(frozen=True)
class OutOfFold:
    """What the folds' policies say about the rows they have not seen: (n, K) each.

    `gains` are predicted, clipped to what a gain can be; `rewards` predicted, as served.
    """

    probabilities: np.ndarray
    gains: np.ndarray
    rewards: np.ndarray


@dataclass(frozen=True)
class Economy:
    """What a reward is worth, what actions cost, and the range of both. Costs are (K,)."""

    worth: float
    costs: np.ndarray
    lowest_reward: float
    highest_reward: float

    @property
    def reward_span(self) -> float:
        return self.worth * (self.highest_reward - self.lowest_reward)

    @property
    def gain_span(self) -> float:
        """Greatest less least gain of any action."""
        return self.reward_span + float(self.costs.max() - self.costs.min())

    def gains_of(self, prepared: Prepared) -> np.ndarray:
        """(n,) what the log's decisions earned: worth of the reward less the action's cost."""
        return self.worth * prepared.rewards - self.costs[prepared.actions]

    def predicted(self, rewards: np.ndarray) -> np.ndarray:
        """(n, K) predicted gains; a prediction outside the reward's range is brought into it."""
        within = np.clip(rewards, self.lowest_reward, self.highest_reward)
        return self.worth * within - self.costs


def economy_of(prepared: Prepared, *, worth: float) -> Economy:
    reward = prepared.meta["reward"]
    return Economy(worth, prepared.costs, reward["minimum"], reward["maximum"])


def log_of(prepared: Prepared, economy: Economy) -> Log:
    return Log(prepared.actions, economy.gains_of(prepared), prepared.propensities)


def out_of_fold(prepared: Prepared, policies: Sequence[Policy], economy: Economy) -> OutOfFold:
    """Each row by the policy of its own fold, which was taught on the others."""
    shape = (len(prepared), len(prepared.names))
    probabilities, rewards = np.zeros(shape), np.zeros(shape)
    for fold, policy in enumerate(policies):
        rows = np.flatnonzero(prepared.folds == fold)
        for start in range(0, len(rows), _ROWS_AT_ONCE):
            block = rows[start : start + _ROWS_AT_ONCE]
            mask = eligible_rows(prepared, block)
            probabilities[block] = policy.distribution(prepared.contexts[block], eligible=mask)
            rewards[block] = policy.rewards(prepared.contexts[block])
    return OutOfFold(probabilities, economy.predicted(rewards), rewards)


def eligible_rows(prepared: Prepared, rows: np.ndarray) -> np.ndarray:
    """(len(rows), K): what could be drawn there."""
    if prepared.eligible is None:
        return np.ones((len(rows), len(prepared.names)), dtype=bool)
    return prepared.eligible[rows]


def uniform_policy(prepared: Prepared) -> np.ndarray:
    """(n, K): every eligible action alike."""
    mask = eligible_rows(prepared, np.arange(len(prepared))).astype(np.float64)
    return mask / mask.sum(axis=1, keepdims=True)


def constant_policy(prepared: Prepared, action: int, *, otherwise: int) -> np.ndarray:
    """(n, K): always `action`; where it is not eligible `otherwise`, else any that is."""
    found = uniform_policy(prepared)
    mask = found > 0
    for code in (otherwise, action):
        rows = mask[:, code]
        found[rows] = 0.0
        found[rows, code] = 1.0
    return found


@dataclass(frozen=True)
class Difference:
    """What a policy earns more than another, per decision: (n,) paired doubly robust terms.

    `within` is what a single term could be, by construction.
    """

    terms: np.ndarray
    within: Range
    groups: Groups

    def as_json(self, *, confidence: float, seed: int) -> Mapping[str, float]:
        """The difference, its honest bounds, and for comparison other ways to bound it."""
        alpha = 1 - confidence
        lower = betting_lower(
            self.terms,
            within=self.within,
            groups=self.groups,
            alpha=alpha,
            generator=np.random.default_rng(seed),
        )
        low, high = betting_interval(
            self.terms,
            within=self.within,
            groups=self.groups,
            alpha=alpha,
            generator=np.random.default_rng(seed),
        )
        sums = self.groups.sums(self.terms - self.terms.mean())
        half = 1.96 * float(np.sqrt((sums**2).sum())) / len(self.terms)
        mean = float(self.terms.mean())
        return {
            "difference": mean,
            "lower_bound": lower,
            "betting_low": low,
            "betting_high": high,
            "normal_low": mean - half,
            "normal_high": mean + half,
            "empirical_bernstein_lower": empirical_bernstein_lower(
                self.terms, within=self.within, alpha=alpha
            ),
            "smallest_possible": self.within.low,
        }


def difference(
    log: Log,
    probabilities: np.ndarray,
    other: np.ndarray | None,
    gains: np.ndarray,
    *,
    economy: Economy,
    groups: Groups,
) -> Difference:
    """A policy less another one; `other` None is the logging policy itself, as it happened.

    A term is at most the span of predicted gains plus the largest possible weight (one over the
    smallest propensity logged) times the span of a reward's worth.
    """
    terms = dr(log, probabilities, gains).numerators
    less = log.gains if other is None else dr(log, other, gains).numerators
    bound = economy.gain_span + economy.reward_span / float(log.propensities.min())
    return Difference(terms - less, Range(-bound, bound), groups)
