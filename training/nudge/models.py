"""Reward models: what each action is expected to bring in a context. Fitted in numpy.

One contract: `fit(examples)` returns self, `rewards(contexts)` gives (n, K) in the reward's unit,
`arrays()` and `link` are what `inference.value_models` serves. Learned state ends in `_`.
Sources of the meta-learners: Künzel et al., "Metalearners for estimating heterogeneous treatment
effects" (PNAS 2019); Kennedy, "Towards optimal doubly robust estimation" (2020).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from inference.value_models import Link, expected
from training.nudge.regression import fit_pooled

CLIPPED_PROPENSITY = 0.01
_NUISANCE_FOLDS = 3


@dataclass(frozen=True)
class Examples:
    """Decisions to learn from. `contexts` (n, d), `actions` int (n,), `rewards` (n,),
    `propensities` (n,), `weights` (n,); `reference` is the code of `none`, else of the action
    that is seen most: uplift is against it."""

    contexts: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    propensities: np.ndarray
    action_count: int
    reference: int
    binary: bool
    weights: np.ndarray

    def take(self, rows: np.ndarray) -> Examples:
        return replace(
            self,
            contexts=self.contexts[rows],
            actions=self.actions[rows],
            rewards=self.rewards[rows],
            propensities=self.propensities[rows],
            weights=self.weights[rows],
        )

    @property
    def seen(self) -> np.ndarray:
        """(K,): which actions there are decisions of."""
        return np.bincount(self.actions, minlength=self.action_count) > 0


class Learner(Protocol):
    """A reward model before and after `fit`."""

    link: Link

    def fit(self, examples: Examples) -> Learner: ...

    def rewards(self, contexts: np.ndarray) -> np.ndarray: ...

    def arrays(self) -> dict[str, np.ndarray]: ...


class LinearLearner:
    """What linear models share: `coefficients_` (K, d + 1), the intercept last."""

    link: Link = "identity"
    coefficients_: np.ndarray

    def rewards(self, contexts: np.ndarray) -> np.ndarray:
        scores = contexts @ self.coefficients_[:, :-1].T + self.coefficients_[:, -1]
        return expected(scores, self.link)

    def arrays(self) -> dict[str, np.ndarray]:
        return {"coefficients": self.coefficients_.astype(np.float32)}


class Constant(LinearLearner):
    """Each action's mean reward, whatever the context: its policy is the best constant one."""

    def fit(self, examples: Examples) -> Constant:
        none = replace(examples, contexts=examples.contexts[:, :0])
        intercepts = fit_pooled(none, logistic=False, shared=1.0, own=1.0)
        width = examples.contexts.shape[1]
        self.coefficients_ = np.hstack([np.zeros((len(intercepts), width)), intercepts])
        return self


class PooledLinear(LinearLearner):
    """Slopes shared by all actions plus each action's own, shrunk: an S-learner with interactions.

    `own` is the strength of the shrinkage, in decisions: as it grows the actions differ by a
    constant only; at 0 each action has a model of its own (a T-learner). Logistic for rewards
    of 0 and 1.
    """

    def __init__(self, *, own: float, shared: float = 1.0) -> None:
        self.own = own
        self.shared = shared

    def fit(self, examples: Examples) -> PooledLinear:
        self.link = "logistic" if examples.binary else "identity"
        self.coefficients_ = fit_pooled(
            examples, logistic=examples.binary, shared=self.shared, own=self.own
        )
        return self


class DoublyRobustUplift(LinearLearner):
    """DR-learner: ridge of each action's doubly robust uplift over the reference, cross-fitted.

    `penalty` is the ridge's, in decisions.
    """

    def __init__(self, *, penalty: float) -> None:
        self.penalty = penalty

    def fit(self, examples: Examples) -> DoublyRobustUplift:
        scores = _doubly_robust_rewards(examples)
        reference = scores[:, [examples.reference]]
        targets = np.hstack([scores - reference, reference])
        fitted = _ridge(examples, targets, self.penalty)
        self.coefficients_ = fitted[:-1] + fitted[-1]
        unseen = ~examples.seen
        self.coefficients_[unseen] = self.coefficients_[examples.reference]
        return self


def _doubly_robust_rewards(examples: Examples) -> np.ndarray:
    """(n, K): predicted rewards, the taken action's corrected by what was missed."""
    parts = np.arange(len(examples.actions)) % _NUISANCE_FOLDS
    found = np.empty((len(parts), examples.action_count))
    for part in range(_NUISANCE_FOLDS):
        model = PooledLinear(own=100.0).fit(examples.take(parts != part))
        found[parts == part] = model.rewards(examples.contexts[parts == part])
    return corrected(found, examples)


def corrected(rewards: np.ndarray, examples: Examples) -> np.ndarray:
    """Predicted rewards (n, K) made doubly robust: the taken action's gets what was missed of it,
    over its propensity."""
    rows = np.arange(len(rewards))
    missed = examples.rewards - rewards[rows, examples.actions]
    robust = rewards.copy()
    robust[rows, examples.actions] += missed / np.maximum(examples.propensities, CLIPPED_PROPENSITY)
    return robust


def _ridge(examples: Examples, targets: np.ndarray, penalty: float) -> np.ndarray:
    """(m, d + 1) coefficients of (n, m) targets; the intercept is not shrunk."""
    x = np.hstack([examples.contexts, np.ones((len(targets), 1))])
    weighted = x * examples.weights[:, None]
    penalties = np.r_[np.full(x.shape[1] - 1, penalty), 1e-9]
    return np.linalg.solve(x.T @ weighted + np.diag(penalties), weighted.T @ targets).T
