"""How loudly products without history may speak: chosen on products that are made to have none.

A twentieth of the products lose their history, the model is fitted without it, and validation
customers are asked. Chosen is what finds most of the hidden products that they took, as long as
what they took of the others is found as well as before, but for `newcomer_cost`; where customers
take things again, also when they ask for what is new to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.histories import Histories, holdout_histories
from training.recommendation.matrices import row_blocks
from training.recommendation.newcomer_blend import Blend
from training.recommendation.newcomers import (
    Newcomers,
    can_tell,
    draw_some,
    find_newcomers,
    without,
)
from training.recommendation.parameters import NewcomerParameters, Parameters
from training.recommendation.prepare import TRAIN, VALIDATION, Prepared

NEWCOMER_LENGTH = 20
SCALES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.85, 1.0, 1.2, 1.35, 1.5, 1.75, 2.0, 2.5, 3.0)
IMAGE_SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)
_ENTRIES = 20_000_000


@dataclass(frozen=True)
class NewcomerTrial:
    """What a choice gives on validation: recall@20 of the hidden products among all, and NDCG@k of
    the products with history. Where the data has repeats, customers are asked twice, the second
    time for what is new to them: `recall` is the mean, `ndcg` has both."""

    parameters: NewcomerParameters
    recall: float
    ndcg: tuple[float, ...]


@dataclass(frozen=True)
class Asked:
    """Customers asked. `heads` (customers, length) are the best scores of products with history,
    falling, one more than is looked at; `own` (customers, m) the newcomers' scores as they are,
    `given` those of their stand-ins. Target `t` is of customer `rows[t]` and scores `values[t]`,
    or is newcomer `places[t]` (-1: none)."""

    heads: np.ndarray
    own: np.ndarray
    given: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    places: np.ndarray

    def figures(self, scale: float, *, k: int) -> tuple[float, float]:
        """Recall@20 of the newcomers and NDCG@k of the others, with that scale."""
        scores = self.own + np.float32(scale) * self.given
        new = self.places >= 0
        values = np.where(new, scores[self.rows, self.places], self.values)
        ranks = np.zeros(len(values), dtype=np.int64)
        for start in range(0, len(values), 4096):
            part = slice(start, start + 4096)
            rows, own = self.rows[part], values[part][:, None]
            ranks[part] = (self.heads[rows] >= own).sum(axis=1) + (scores[rows] >= own).sum(axis=1)
        recall = _mean_of(self.rows[new], ranks[new] <= NEWCOMER_LENGTH)
        return recall, _ndcg(self.rows[~new], ranks[~new], k=k)


def _mean_of(rows: np.ndarray, found: np.ndarray) -> float:
    """Mean over customers of the share of their targets that was found; 0 without any."""
    counts = np.bincount(rows)
    hits = np.bincount(rows, weights=found)
    return float((hits[counts > 0] / counts[counts > 0]).mean()) if len(rows) else 0.0


def _ndcg(rows: np.ndarray, ranks: np.ndarray, *, k: int) -> float:
    gains = np.where(ranks <= k, 1.0 / np.log2(np.maximum(ranks, 1) + 1.0), 0.0)
    counts = np.bincount(rows)
    ideal = np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))
    asked = np.flatnonzero(counts)
    if not len(asked):
        return 0.0
    found = np.bincount(rows, weights=gains)[asked]
    return float((found / ideal[np.minimum(counts[asked], k) - 1]).mean())


def tune_newcomers(
    prepared: Prepared, configuration: RecommenderConfiguration, parameters: Parameters
) -> NewcomerTrial | None:
    """The best choice for newcomers beside `parameters`; None where nothing can be chosen: nothing
    is known of the products, or nobody in the validation window took a hidden one."""
    train = prepared.take(prepared.split == TRAIN)
    if not can_tell(train) or not configuration.newcomer_cost:
        return None
    hidden = draw_some(train, seed=configuration.seed)
    shown = train.take(~np.isin(train.items, hidden))
    if not len(hidden) or not len(shown.items):
        return None
    newcomers = find_newcomers(shown, idf_power=parameters.content.idf_power, images=0.0)
    histories = holdout_histories(
        without(prepared, hidden, split=VALIDATION),
        VALIDATION,
        purchase_event=configuration.purchase_event,
        limit=_customers(prepared, configuration, len(newcomers.codes)),
        seed=configuration.seed,
    )
    if not np.isin(histories.targets, newcomers.codes).any():
        return None
    blend = Blend.fit(shown, parameters, configuration)
    again = histories.repeat_share() > 0 and not parameters.exclude_seen
    blends = [blend, blend.new_only()] if again else [blend]
    trials = [*_trials(blends, histories, newcomers, k=configuration.k)]
    return choose(trials, cost=configuration.newcomer_cost)


def _customers(prepared: Prepared, configuration: RecommenderConfiguration, newcomers: int) -> int:
    """How many can be asked with all scores at hand at once."""
    most = _ENTRIES // max(1, newcomers)
    return max(1000, min(configuration.tuning_customers, most))


def choose(trials: Sequence[NewcomerTrial], *, cost: float) -> NewcomerTrial:
    """The most of the hidden found at no more than `cost` of the rest, relative to newcomers as
    they are; the softest of those that find as much."""
    as_they_are = next(trial for trial in trials if trial.parameters.scale == 0.0)
    floor = (1.0 - cost) * np.array(as_they_are.ndcg)
    allowed = [trial for trial in trials if (np.array(trial.ndcg) >= floor).all()]
    return max(allowed, key=lambda trial: (trial.recall, -trial.parameters.scale))


def _trials(
    blends: Sequence[Blend], histories: Histories, newcomers: Newcomers, *, k: int
) -> Iterator[NewcomerTrial]:
    """Every scale with every set of stand-ins; a blend for each way in which one may ask."""
    blend, length = blends[0], max(k, NEWCOMER_LENGTH) + 1
    for share in IMAGE_SHARES if blend.shown.images is not None else IMAGE_SHARES[:1]:
        if share:
            power = blend.parameters.content.idf_power
            newcomers = find_newcomers(blend.shown, idf_power=power, images=share)
        asked = [ask(one, histories, newcomers, length=length) for one in blends]
        for scale in SCALES:
            figures = [one.figures(scale, k=k) for one in asked]
            recall = sum(found for found, _ in figures) / len(figures)
            ndcg = tuple(found for _, found in figures)
            yield NewcomerTrial(NewcomerParameters(scale, share), recall, ndcg)


def ask(blend: Blend, histories: Histories, newcomers: Newcomers, *, length: int) -> Asked:
    """Score everybody, block by block. What may not be shown to a customer is no target."""
    n = blend.shown.product_count
    length = min(length, n)
    place = np.full(n, -1)
    place[newcomers.codes] = np.arange(len(newcomers.codes))
    heads, own, given, values = [], [], [], []
    for start, stop in row_blocks(len(histories), n):
        block = histories.block(start, stop)
        said, whole = blend.scores(block)
        own.append(whole[:, newcomers.codes])
        given.append(newcomers.of(said))
        rows = np.repeat(np.arange(len(block)), np.diff(block.target_indptr))
        values.append(whole[rows, block.targets])
        whole[:, newcomers.codes] = -np.inf
        heads.append(-np.sort(np.partition(-whole, length - 1, axis=1)[:, :length], axis=1))
    targets = np.concatenate(values)
    kept = np.isfinite(targets)
    return Asked(
        heads=np.concatenate(heads),
        own=np.concatenate(own),
        given=np.concatenate(given),
        rows=np.repeat(np.arange(len(histories)), np.diff(histories.target_indptr))[kept],
        values=targets[kept],
        places=place[histories.targets][kept],
    )
