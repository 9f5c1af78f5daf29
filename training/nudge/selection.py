"""Which learner: the simplest that predicts the rewards of unseen decisions as well as any.

Judged by the squared error of the taken action's reward, weighted by 1 / propensity, so that it
stands for the error over all actions and not over those the old policy liked. A more complex
learner must be better by more than the standard error of the paired difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from training.errors import ConfigurationError
from training.nudge.configuration import NudgeConfiguration
from training.nudge.models import (
    CLIPPED_PROPENSITY,
    Constant,
    DoublyRobustUplift,
    Examples,
    Learner,
    PooledLinear,
)
from training.nudge.prepare import Prepared
from training.nudge.trees import BoostedTrees

SHRINKAGES = (100_000.0, 3000.0, 1000.0, 300.0, 100.0, 30.0)
_RIDGES = (1000.0, 100.0)
_MOST_TREE_ACTIONS = 20


@dataclass(frozen=True)
class Candidate:
    """A learner that could be taken; `name` says which and with what."""

    name: str
    family: str
    make: Callable[[], Learner]


@dataclass(frozen=True)
class Trial:
    """One candidate on one fold: mean weighted squared error."""

    fold: int
    name: str
    loss: float


def candidates(configuration: NudgeConfiguration, *, action_count: int) -> list[Candidate]:
    """From the simplest to the most complex, as the configuration allows."""
    found = [Candidate("constant", "constant", Constant)]
    found += [_pooled(own) for own in SHRINKAGES]
    if action_count <= _MOST_TREE_ACTIONS:
        found += [_doubly_robust(penalty) for penalty in _RIDGES]
        found.append(Candidate("boosted-trees", "boosted-trees", BoostedTrees))
    if configuration.learner != "auto":
        found = [c for c in found if c.family == configuration.learner]
    if configuration.policy == "thompson":
        found = [c for c in found if c.family != "boosted-trees"]
    if not found:
        raise ConfigurationError(
            f"nudge-policy: learner={configuration.learner} does not go with policy="
            f"{configuration.policy} and {action_count} actions: boosted-trees has no bootstrap "
            f"for thompson, and like doubly-robust takes at most {_MOST_TREE_ACTIONS} actions"
        )
    return found


def _pooled(own: float) -> Candidate:
    return Candidate(f"pooled-linear, own={own:g}", "pooled-linear", lambda: PooledLinear(own=own))


def _doubly_robust(penalty: float) -> Candidate:
    name = f"doubly-robust, penalty={penalty:g}"
    return Candidate(name, "doubly-robust", lambda: DoublyRobustUplift(penalty=penalty))


def examples_of(prepared: Prepared) -> Examples:
    """The log as examples; uplift is against `none`, else against the action seen most."""
    counts = np.bincount(prepared.actions, minlength=len(prepared.names))
    names = prepared.names
    is_none = "none" in names and counts[names.index("none")] > 0
    return Examples(
        contexts=prepared.contexts,
        actions=prepared.actions,
        rewards=prepared.rewards,
        propensities=prepared.propensities,
        action_count=len(names),
        reference=names.index("none") if is_none else int(counts.argmax()),
        binary=prepared.meta["binary"],
        weights=np.ones(len(prepared)),
    )


@dataclass(frozen=True)
class Choice:
    """For each fold the candidate chosen without it, and the one for all of the log."""

    by_fold: list[Candidate]
    overall: Candidate


def choose(
    prepared: Prepared,
    configuration: NudgeConfiguration,
    *,
    report: Callable[[Trial], None],
) -> Choice:
    """Choose a learner for each fold on the folds beside it, and one overall.

    For fold f the next fold validates and the others teach, so f itself is never looked at. What
    each fold's validation found is put together for the overall choice.
    """
    available = candidates(configuration, action_count=len(prepared.names))
    if len(available) == 1:
        return Choice([available[0]] * configuration.folds, available[0])
    examples = examples_of(prepared)
    losses = []
    for fold in range(configuration.folds):
        table = _losses(examples, prepared.folds, fold, configuration.folds, available)
        for candidate, column in zip(available, table.T, strict=True):
            report(Trial(fold, candidate.name, float(column.mean())))
        losses.append(table)
    by_fold = [available[simplest(table)] for table in losses]
    return Choice(by_fold, available[simplest(np.concatenate(losses))])


def _losses(
    examples: Examples, folds: np.ndarray, fold: int, count: int, available: list[Candidate]
) -> np.ndarray:
    """(rows of the validating fold, candidates)."""
    validating = (fold + 1) % count
    teach = examples.take((folds != fold) & (folds != validating))
    judge = examples.take(folds == validating)
    return np.stack([squared_errors(c.make().fit(teach), judge) for c in available], axis=1)


def squared_errors(model: Learner, examples: Examples) -> np.ndarray:
    """(n,) squared errors of the taken actions' rewards, weighted by 1 / propensity."""
    rows = np.arange(len(examples.actions))
    predicted = model.rewards(examples.contexts)[rows, examples.actions]
    weights = 1 / np.maximum(examples.propensities, CLIPPED_PROPENSITY)
    return weights * (examples.rewards - predicted) ** 2


def simplest(losses: np.ndarray) -> int:
    """Column of the simplest candidate that none after it beats by more than chance."""
    chosen = 0
    for column in range(1, losses.shape[1]):
        gained = losses[:, chosen] - losses[:, column]
        if gained.mean() > gained.std() / np.sqrt(len(gained)):
            chosen = column
    return chosen


def bootstrap_models(
    candidate: Candidate, examples: Examples, *, count: int, generator: np.random.Generator
) -> Iterator[Learner]:
    """The learner on `count` Bayesian bootstraps of the log (exponential weights, Rubin 1981)."""
    for _ in range(count):
        weights = generator.exponential(size=len(examples.weights))
        yield candidate.make().fit(replace(examples, weights=weights))
