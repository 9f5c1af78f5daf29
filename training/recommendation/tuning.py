"""Chooses the recommender's parameters on the validation window, by coordinate search.

The search visits a fixed list of values in a fixed order, so the choice depends on the data, the
configuration and the seed alone, never on the clock. Scores are those of `inference.recommender`,
for many customers at once (a test holds the two together).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import scipy.sparse as sp

from inference.recommender import ServingParameters
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.histories import Histories, holdout_histories
from training.recommendation.metrics import ndcg_matrix
from training.recommendation.models import (
    BasketCooccurrence,
    DecayedTransitions,
    RecentPopularity,
    blend,
)
from training.recommendation.prepare import TRAIN, VALIDATION, Prepared

_DAY_SECONDS = 86_400.0
_DENSE_ENTRIES = 20_000_000


class Parameters(msgspec.Struct, frozen=True):
    """Everything that is tuned. Weights are relative to the neighbours' 1."""

    transition_share: float = 0.5
    backward: float = 0.2
    transition_row_power: float = 0.3
    cooccurrence_power: float = 0.5
    decay: float = 0.9
    repeat_weight: float = 0.5
    repeat_half_life_days: float = 90.0
    repeat_decay: float = 0.98
    trend_weight: float = 0.1
    trend_half_life_days: float = 14.0
    exclude_seen: bool = False


GRID: tuple[tuple[str, tuple[Any, ...]], ...] = (
    ("exclude_seen", (False, True)),
    ("repeat_weight", (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)),
    ("trend_weight", (0.0, 0.01, 0.03, 0.1, 0.3, 0.6)),
    ("transition_share", (0.0, 0.25, 0.5, 0.75, 1.0)),
    ("decay", (0.5, 0.7, 0.8, 0.9, 0.97, 1.0)),
    ("trend_half_life_days", (7.0, 14.0, 30.0, 3650.0)),
    ("repeat_half_life_days", (15.0, 30.0, 60.0, 90.0, 180.0)),
    ("transition_row_power", (0.0, 0.2, 0.5)),
    ("cooccurrence_power", (0.3, 0.5, 0.7)),
    ("backward", (0.1, 0.3, 1.0)),
)
ROUNDS = 2
HISTORY_LENGTH = 200


@dataclass(frozen=True)
class Trial:
    """One thing tried and what it gave."""

    parameters: Parameters
    ndcg: float


def tune(
    prepared: Prepared,
    configuration: RecommenderConfiguration,
    *,
    report: Callable[[Trial], None],
) -> Trial:
    """The best trial on the validation window; `report` hears of every one."""
    train = prepared.take(prepared.split == TRAIN)
    histories = holdout_histories(
        prepared,
        VALIDATION,
        purchase_event=configuration.purchase_event,
        limit=configuration.tuning_customers,
        seed=configuration.seed,
    )
    scorer = Scorer(train, histories, configuration)
    best = _try(scorer, Parameters(), report)
    tried = {Parameters()}
    for _ in range(ROUNDS):
        for name, values in GRID:
            for value in values:
                candidate = msgspec.structs.replace(best.parameters, **{name: value})
                if candidate in tried or _is_idle(candidate, name):
                    continue
                tried.add(candidate)
                trial = _try(scorer, candidate, report)
                best = trial if trial.ndcg > best.ndcg + 1e-6 else best
    return best


def _is_idle(parameters: Parameters, name: str) -> bool:
    """Whether a change of `name` cannot change any score."""
    return (
        (name == "repeat_half_life_days" and parameters.repeat_weight == 0)
        or (name == "trend_half_life_days" and parameters.trend_weight == 0)
        or (name in ("backward", "transition_row_power") and parameters.transition_share == 0)
        or (name == "cooccurrence_power" and parameters.transition_share == 1)
        or (name.startswith("repeat") and parameters.exclude_seen)
    )


def _try(scorer: Scorer, parameters: Parameters, report: Callable[[Trial], None]) -> Trial:
    trial = Trial(parameters, scorer.ndcg(parameters))
    report(trial)
    return trial


class Parts:
    """The fitted parts for any parameters, each fitted once."""

    def __init__(self, prepared: Prepared, neighbours: int) -> None:
        self.prepared = prepared
        self.neighbours = neighbours
        self._fitted: dict[tuple[Any, ...], Any] = {}

    def matrix(self, parameters: Parameters) -> sp.csr_matrix:
        share = parameters.transition_share
        transitions = self._transitions(parameters) if share > 0 else None
        cooccurrence = self._cooccurrence(parameters) if share < 1 else None
        if transitions is None or cooccurrence is None:
            return transitions if cooccurrence is None else cooccurrence
        return blend(transitions, cooccurrence, share, self.neighbours)

    def prior(self, parameters: Parameters) -> np.ndarray:
        days = parameters.trend_half_life_days
        fitted = self._once(("trend", days), lambda: RecentPopularity(days).fit(self.prepared))
        return np.asarray(fitted.prior_)

    def _transitions(self, parameters: Parameters) -> sp.csr_matrix:
        model = DecayedTransitions(
            backward=parameters.backward,
            row_power=parameters.transition_row_power,
            neighbours=self.neighbours,
        )
        key = ("transitions", model.backward, model.row_power)
        return self._once(key, lambda: model.fit(self.prepared)).matrix_

    def _cooccurrence(self, parameters: Parameters) -> sp.csr_matrix:
        power = parameters.cooccurrence_power
        model = BasketCooccurrence(row_power=power, column_power=power, neighbours=self.neighbours)
        return self._once(("cooccurrence", power), lambda: model.fit(self.prepared)).matrix_

    def _once(self, key: tuple[Any, ...], fit: Callable[[], Any]) -> Any:
        if key not in self._fitted:
            self._fitted[key] = fit()
        return self._fitted[key]


class Scorer:
    """Scores of the tuning customers over the whole catalogue, in blocks of customers."""

    def __init__(
        self, train: Prepared, histories: Histories, configuration: RecommenderConfiguration
    ) -> None:
        self.histories = histories
        self.parts = Parts(train, configuration.neighbours)
        self.k = configuration.k
        self.count = train.product_count

    def ndcg(self, parameters: Parameters) -> float:
        """Mean NDCG@k over the tuning customers."""
        matrix, prior = self.parts.matrix(parameters), self.parts.prior(parameters)
        block = max(1, _DENSE_ENTRIES // self.count)
        sums = 0.0
        for start in range(0, len(self.histories), block):
            part = self.histories.block(start, start + block)
            scores = self.scores(part, parameters, matrix, prior)
            top = top_k(scores, self.k)
            relevant = part.target_mask(self.count)
            sums += ndcg_matrix(top, relevant, relevant.sum(axis=1)) * len(part)
        return sums / len(self.histories)

    def scores(
        self, part: Histories, parameters: Parameters, matrix: sp.csr_matrix, prior: np.ndarray
    ) -> np.ndarray:
        """Dense (customers, products) scores, as the serving core would give."""
        scores = (part.weights(parameters.decay, HISTORY_LENGTH, self.count) @ matrix).toarray()
        scores = scores + parameters.trend_weight * prior
        if parameters.repeat_weight and not parameters.exclude_seen:
            scores += parameters.repeat_weight * part.recency(
                parameters.repeat_half_life_days, parameters.repeat_decay, self.count
            )
        if parameters.exclude_seen:
            scores[part.seen_mask(self.count)] = -np.inf
        return scores


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Codes of the k best of each row, best first; ties go to the lower code."""
    k = min(k, scores.shape[1])
    chosen = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    order = np.argsort(-np.take_along_axis(scores, chosen, axis=1), axis=1, kind="stable")
    return np.take_along_axis(chosen, order, axis=1)


def serving_parameters(
    parameters: Parameters, configuration: RecommenderConfiguration
) -> ServingParameters:
    """The part of the choice that the serving core needs."""
    return ServingParameters(
        repeat_weight=parameters.repeat_weight,
        trend_weight=parameters.trend_weight,
        decay=parameters.decay,
        history_length=HISTORY_LENGTH,
        repeat_half_life_days=parameters.repeat_half_life_days,
        repeat_decay=parameters.repeat_decay,
        purchase_event=configuration.purchase_event,
        exclude_seen=parameters.exclude_seen,
    )
