"""Chooses the recommender's parameters on the validation window, by coordinate search.

Which values are visited depends on the data, the configuration and the seed alone, never on the
clock: the budget is spent in nominal CPU seconds, estimated from sizes. Scores are those of
`inference.recommender`, for many customers at once (a test holds the two together).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from msgspec.structs import replace

from inference.factors import SCALE_BY_BEST
from training.recommendation.budget import Budget, Sizes, customers_within, ranks_within
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.factors import ItemFactors, fold_in
from training.recommendation.histories import Histories, event_weight_array, holdout_histories
from training.recommendation.kept import Kept
from training.recommendation.matrices import scores
from training.recommendation.newcomer_tuning import tune_newcomers
from training.recommendation.newcomers import can_tell
from training.recommendation.parameters import (
    HISTORY_LENGTH,
    LASTING,
    RECENT,
    Parameters,
)
from training.recommendation.parts import Parts
from training.recommendation.pool import Dense, Pool, build_pool
from training.recommendation.prepare import TRAIN, VALIDATION, Prepared
from training.recommendation.sample import some_customers
from training.recommendation.search import (
    Move,
    inner_moves,
    memory_of,
    starting_point,
    weight_moves,
)

ROUNDS = 4
_FEATURE_BYTES = 1_000_000_000
_PER_FEATURE = 120
_HEAD = 60
_LEAST_GAIN = 1e-5
FACTOR_WEIGHTS = (0.1, 0.2, 0.3, 0.45, 0.6, 0.8, 1.0)
FACTOR_GAIN = 1.004


@dataclass(frozen=True)
class Trial:
    """One thing tried and what it gave on validation: NDCG@k, and NDCG@k of the products that
    are new to the customer where the data has repeats (0 where it has none); of the best one also
    the recall@20 of products made to have no history."""

    change: str
    parameters: Parameters
    ndcg: float
    new_ndcg: float = 0.0
    newcomer_recall: float = 0.0

    @property
    def value(self) -> float:
        """What the search maximises: a shop wants both the same again and something new, and a
        tenth more of either is worth the same."""
        return math.sqrt(self.ndcg * self.new_ndcg) if self.new_ndcg else self.ndcg


Report = Callable[[Trial], None]


def tune(
    prepared: Prepared,
    configuration: RecommenderConfiguration,
    *,
    report: Report,
    known: Sequence[Trial] = (),
    began: Callable[[Prepared], None] = lambda _: None,
) -> Trial:
    """The best trial on the validation window; `report` hears of every one, `began` beforehand of
    the data that the search looks at: some customers, where the budget allows no more.

    `known` are trials of the same search on the same data, which are not measured again.
    """
    train = prepared.take(prepared.split == TRAIN)
    histories = holdout_histories(
        prepared,
        VALIDATION,
        purchase_event=configuration.purchase_event,
        limit=min(configuration.tuning_customers, customers_within(train)),
        seed=configuration.seed,
    )
    whole = Sizes.of(train)
    share = whole.share_within(configuration.budget_seconds)
    looked_at = some_customers(train, share, seed=configuration.seed)
    began(looked_at)
    budget = Budget(whole, Sizes.of(looked_at), len(histories), configuration.budget_seconds)
    tuner = Tuner(looked_at, histories, configuration, budget=budget, report=report, known=known)
    tuner.search()
    tuner.try_factors()
    return _with_newcomers(tuner.best, prepared, configuration)


def _with_newcomers(
    best: Trial, prepared: Prepared, configuration: RecommenderConfiguration
) -> Trial:
    chosen = tune_newcomers(prepared, configuration, best.parameters)
    if chosen is None:
        return best
    parameters = replace(best.parameters, newcomers=chosen.parameters)
    return dataclasses.replace(best, parameters=parameters, newcomer_recall=chosen.recall)


class Tuner:
    """The search: a pool of candidates, the features of the parts on it, the best so far."""

    def __init__(
        self,
        train: Prepared,
        histories: Histories,
        configuration: RecommenderConfiguration,
        *,
        budget: Budget,
        report: Report,
        known: Sequence[Trial] = (),
    ) -> None:
        self.known = {_key(trial.parameters): trial for trial in known}
        self.train, self.histories, self.report = train, histories, report
        self.configuration, self.budget = configuration, budget
        self.ranks = ranks_within(budget)
        rank = self.ranks[-1] if self.ranks else 0
        budget.reserve(rank, configuration.factors, newcomers=can_tell(train))
        self.parts = Parts(
            train,
            neighbours=configuration.neighbours,
            seed=configuration.seed,
            rank=rank,
        )
        self.kind = train.meta["kind"]
        self.available = self.parts.available()
        repeat_share = histories.repeat_share()
        self.repeats = repeat_share > 0
        start = starting_point(
            self.available,
            kind=self.kind,
            repeat_share=repeat_share,
            ranks=self.ranks,
            seed=configuration.search_seed,
        )
        self.pool = self._build_pool(start)
        self._features: Kept[np.ndarray] = Kept(
            max(16, _FEATURE_BYTES // (self.pool.codes.size * np.float32().nbytes))
        )
        new_pool = self.pool.new_only()
        self.new_pool = new_pool if self.repeats and len(new_pool.target_rows) else None
        self.tried: set[bytes] = set()
        self.best = self.trial("start", start)
        report(self.best)

    def _build_pool(self, start: Parameters) -> Pool:
        features = [
            self._dense(memory_of(part, kind=self.kind), part, start) for part in self.available
        ]
        head = np.argsort(-self.parts.prior(start.trend_half_life_days), kind="stable")[:_HEAD]
        self.budget.spend(self.budget.pool(len(features)))
        return build_pool(
            self.histories,
            features,
            product_count=self.train.product_count,
            head=head,
            per_feature=_PER_FEATURE,
        )

    def search(self) -> None:
        """Weights, then what is inside the parts, again and again while it helps."""
        for number in range(ROUNDS):
            before = self.best.value
            self._visit(
                weight_moves(self.available, kind=self.kind, repeats=self.repeats, fine=number > 0)
            )
            self._visit(
                inner_moves(
                    self.best.parameters,
                    self.available,
                    kind=self.kind,
                    repeats=self.repeats,
                    events=self._events(),
                    ranks=self.ranks,
                )
            )
            if number and self.best.value < before * 1.001:
                return

    def _events(self) -> list[str]:
        names = self.train.meta["events"]
        return names if 1 < len(names) <= 6 else []

    def _visit(self, moves: list[Move]) -> None:
        for move in moves:
            while self._gains(move) and move.goes_on:
                pass

    def _gains(self, move: Move) -> bool:
        """Try a move's candidates up to the first that is better."""
        candidates = list(move.candidates(self.best.parameters))
        return any(self._try(move, candidate) for candidate in candidates)

    def _try(self, move: Move, candidate: Parameters) -> bool:
        key = _key(candidate)
        cost = self.budget.of(move, candidate)
        if key in self.tried or not self.budget.allows(cost):
            return False
        self.budget.spend(cost)
        self.tried.add(key)
        trial = self.trial(move.label, candidate)
        self.report(trial)
        better = trial.value > self.best.value + _LEAST_GAIN
        if better:
            self.best = trial
        return better

    def trial(self, change: str, parameters: Parameters) -> Trial:
        """What these parameters give the validation customers."""
        before = self.known.get(_key(parameters))
        if before is not None:
            return before
        found, k = self.blend(parameters), self.configuration.k
        if parameters.exclude_seen or self.new_pool is None:
            excluding = parameters.exclude_seen
            return Trial(change, parameters, self.pool.ndcg(found, k=k, exclude_seen=excluding))
        new = found + self._trend(parameters, parameters.new_trend_weight - parameters.trend_weight)
        return Trial(
            change,
            parameters,
            self.pool.ndcg(found, k=k, exclude_seen=False),
            self.new_pool.ndcg(new, k=k, exclude_seen=True),
        )

    def blend(self, parameters: Parameters) -> np.ndarray:
        """Scores (customers, pool) of everything but the factors."""
        total = self._trend(parameters, parameters.trend_weight)
        for memory in (RECENT, LASTING):
            for part, weight in getattr(parameters, memory).items():
                total += np.float32(weight) * self._feature(memory, part, parameters)
        if parameters.repeat_weight and not parameters.exclude_seen:
            total += np.float32(parameters.repeat_weight) * self._repeat(parameters)
        return total

    def _trend(self, parameters: Parameters, weight: float) -> np.ndarray:
        prior = self.parts.prior(parameters.trend_half_life_days).astype(np.float32)
        return np.float32(weight) * prior[np.maximum(self.pool.codes, 0)]

    def _feature(self, memory: str, part: str, parameters: Parameters) -> np.ndarray:
        decay = parameters.memory_decay(memory)
        events = _frozen(parameters.event_weights)
        key = (part, getattr(parameters, part), decay, parameters.history_power, events)
        return self._features.get(
            key, lambda: self.pool.gather(self._dense(memory, part, parameters))
        )

    def _repeat(self, parameters: Parameters) -> np.ndarray:
        times = (parameters.repeat_half_life_days, parameters.repeat_decay)
        key = ("repeat", *times, _frozen(parameters.event_weights))

        def dense(block: Histories) -> np.ndarray:
            return block.recency(
                *times,
                product_count=self.train.product_count,
                event_weights=self._event_weights(parameters),
            ).toarray()

        return self._features.get(key, lambda: self.pool.gather(dense))

    def _dense(self, memory: str, part: str, parameters: Parameters) -> Dense:
        scale = np.float32(parameters.memory_scale(memory))

        def dense(block: Histories) -> np.ndarray:
            weights = scale * block.weights(
                parameters.memory_decay(memory),
                length=HISTORY_LENGTH,
                power=parameters.history_power,
                product_count=self.train.product_count,
                event_weights=self._event_weights(parameters),
            )
            return scores(weights, self.parts.part(part, parameters))

        return dense

    def _event_weights(self, parameters: Parameters) -> np.ndarray:
        return event_weight_array(self.train.meta["events"], parameters.event_weights)

    def try_factors(self) -> None:
        """Whether re-ranking by ALS factors pays; it has to pay for a slower decision."""
        count = self.configuration.factors
        if not count or not self.budget.affords_factors(count):
            return
        best, pool = self.best, self.pool
        candidates = [replace(best.parameters, factor_weight=weight) for weight in FACTOR_WEIGHTS]
        if all(_key(candidate) in self.known for candidate in candidates):
            self._keep_best([self.known[_key(candidate)] for candidate in candidates], best)
            return
        model = ItemFactors(count, random_state=self.configuration.seed).fit(self.train)
        base = _per_customer(self.blend(best.parameters), pool, best.parameters)
        found = pool.gather(lambda block: fold_in(block, model) @ model.item_factors_.T)
        found = _per_customer(found, pool, best.parameters)
        trials = [
            Trial(
                "factor_weight",
                candidate,
                pool.ndcg(
                    base + np.float32(candidate.factor_weight) * found,
                    k=self.configuration.k,
                    exclude_seen=candidate.exclude_seen,
                ),
                best.new_ndcg,
            )
            for candidate in candidates
        ]
        self._keep_best(trials, best)

    def _keep_best(self, trials: list[Trial], without: Trial) -> None:
        for trial in trials:
            self.report(trial)
            if trial.value > max(self.best.value, without.value * FACTOR_GAIN):
                self.best = trial


def _per_customer(values: np.ndarray, pool: Pool, parameters: Parameters) -> np.ndarray:
    """Each customer's scores divided by the mean of their best, as the serving core does."""
    out = pool.codes < 0
    if parameters.exclude_seen:
        out = out | pool.seen
    masked = np.where(out, -np.inf, values)
    count = min(SCALE_BY_BEST, masked.shape[1])
    top = -np.partition(-masked, count - 1, axis=1)[:, :count]
    level = np.where(np.isfinite(top), top, 0.0).mean(axis=1)
    return values / np.maximum(level, 1e-9)[:, None]


def _key(parameters: Parameters) -> bytes:
    return msgspec.json.encode(parameters, order="sorted")


def _frozen(weights: dict[str, float]) -> tuple[tuple[str, float], ...]:
    return tuple(sorted(weights.items()))
