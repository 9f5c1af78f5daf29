"""Which learner: the simplest that predicts the uplift of unseen decisions as well as any.

What a policy needs is not the reward but its difference between actions, which no row shows. It is
judged against a doubly robust stand-in for it, unbiased whatever the old policy preferred, by the
squared error. Of the linear ones, constants included, the best is taken; a more complex family must
be better than a simpler one by more than the standard error of the paired difference.
Source: the tau-risk with a doubly robust score, Mahajan, Mitliagkas, Neal & Syrgkanis, "Empirical
analysis of model selection for heterogeneous causal effect estimation" (ICLR 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from training.errors import ConfigurationError
from training.nudge.configuration import NudgeConfiguration
from training.nudge.models import (
    Constant,
    DoublyRobustUplift,
    Examples,
    Learner,
    PooledLinear,
    corrected,
)
from training.nudge.prepare import Prepared
from training.nudge.trees import BoostedTrees

# Beyond a thousand decisions per action nothing but a constant difference is left: `constant`.
SHRINKAGES = (1000.0, 100.0, 10.0, 1.0)
_RIDGE = 300.0
_COMPLEXITY = {"constant": 0, "pooled-linear": 0, "doubly-robust": 1, "boosted-trees": 2}
_MOST_TREE_ACTIONS = 20
_PLAIN = 100.0


@dataclass(frozen=True)
class Candidate:
    """A learner that could be taken; `name` says which and with what."""

    name: str
    family: str
    make: Callable[[], Learner]


@dataclass(frozen=True)
class Trial:
    """One candidate on two folds, taught on the others: mean squared error of the uplift."""

    folds: tuple[int, int]
    name: str
    loss: float


def candidates(configuration: NudgeConfiguration, *, action_count: int) -> list[Candidate]:
    """From the simplest to the most complex, as the configuration allows."""
    found = [Candidate("constant", "constant", Constant)]
    found += [_pooled(own) for own in SHRINKAGES]
    if action_count <= _MOST_TREE_ACTIONS:
        found.append(_doubly_robust(_RIDGE))
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
    """Choose a learner for each fold without looking at it, and one overall.

    For every pair of folds the others teach once; that serves twice, as validation of either
    within the search for the other. So each fold's choice rests on all the other folds.
    """
    available = candidates(configuration, action_count=len(prepared.names))
    count = configuration.folds
    if len(available) == 1:
        return Choice([available[0]] * count, available[0])
    examples = examples_of(prepared)
    losses: dict[int, list[np.ndarray]] = {fold: [] for fold in range(count)}
    for pair in combinations(range(count), 2):
        taught = [c.make() for c in available]
        tables = _losses(examples, prepared.folds, pair, taught)
        for held_out, table in zip(reversed(pair), tables, strict=True):
            losses[held_out].append(table)
        for number, candidate in enumerate(available):
            report(Trial(pair, candidate.name, float(np.concatenate(tables)[:, number].mean())))
    families = [_COMPLEXITY[candidate.family] for candidate in available]
    by_fold = [available[simplest(np.concatenate(losses[fold]), families)] for fold in range(count)]
    everything = np.concatenate([table for found in losses.values() for table in found])
    return Choice(by_fold, available[simplest(everything, families, repeats=count - 1)])


def _losses(
    examples: Examples, folds: np.ndarray, pair: tuple[int, int], learners: list[Learner]
) -> list[np.ndarray]:
    """For each fold of the pair (rows, candidates), by learners taught on the other folds."""
    teach = examples.take(~np.isin(folds, pair))
    plain = PooledLinear(own=_PLAIN).fit(teach)
    taught = [learner.fit(teach) for learner in learners]
    tables = []
    for fold in pair:
        judge = examples.take(folds == fold)
        standing_in = corrected(plain.rewards(judge.contexts), judge)
        columns = [uplift_errors(model, judge, standing_in) for model in taught]
        tables.append(np.stack(columns, axis=1))
    return tables


def uplift_errors(model: Learner, examples: Examples, standing_in: np.ndarray) -> np.ndarray:
    """(n,) squared errors of the uplift over the reference, summed over the actions.

    `standing_in` (n, K) are doubly robust rewards of the same examples.
    """
    rewards = model.rewards(examples.contexts)
    reference = [examples.reference]
    missed = (standing_in - standing_in[:, reference]) - (rewards - rewards[:, reference])
    return (missed**2).sum(axis=1)


def simplest(losses: np.ndarray, families: Sequence[int], *, repeats: int = 1) -> int:
    """Column of the best candidate of the simplest family that no later one beats by more than
    chance. `repeats`: how often each decision is among the rows, which adds no evidence.
    """
    means = losses.mean(axis=0)
    chosen: int | None = None
    for family in dict.fromkeys(families):
        columns = [column for column, name in enumerate(families) if name == family]
        best = min(columns, key=lambda column: means[column])
        if chosen is None:
            chosen = best
            continue
        gained = losses[:, chosen] - losses[:, best]
        if gained.mean() > gained.std() / np.sqrt(len(gained) / repeats):
            chosen = best
    if chosen is None:
        raise ValueError("no candidates to choose from")
    return chosen


def bootstrap_models(
    candidate: Candidate, examples: Examples, *, count: int, generator: np.random.Generator
) -> Iterator[Learner]:
    """The learner on `count` Bayesian bootstraps of the log (exponential weights, Rubin 1981)."""
    for _ in range(count):
        weights = generator.exponential(size=len(examples.weights))
        yield candidate.make().fit(replace(examples, weights=weights))
