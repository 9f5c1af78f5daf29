"""What the recommender is measured against: popularity, item-kNN, `implicit` ALS and BPR."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from tests.benchmarks.protocols import Task
from training.recommendation.cooccurrence import Cooccurrence, group_matrix
from training.recommendation.histories import Histories
from training.recommendation.matrices import row_blocks, scores
from training.recommendation.popularity import RecentPopularity

Score = Callable[[Histories], np.ndarray]


@dataclass(frozen=True)
class Lists:
    """Each customer's list, and the same of products new to them where the data has repeats."""

    found: list[list[int]]
    new_only: list[list[int]] | None


Peer = Callable[[Task, Histories, int], Lists | None]


def _ranked(task: Task, histories: Histories, k: int, score: Score) -> Lists:
    """Lists by dense scores, block by block."""
    n = task.prepared.product_count
    repeats = histories.repeat_share() > 0
    found: list[list[int]] = []
    new_only: list[list[int]] = []
    for start, stop in row_blocks(len(histories), n):
        block = histories.block(start, stop)
        values = score(block)
        if repeats:
            found += _top(values, k)
        values[block.seen(n).nonzero()] = -np.inf
        (new_only if repeats else found).extend(_top(values, k))
    return Lists(found, new_only if repeats else None)


def _top(values: np.ndarray, k: int) -> list[list[int]]:
    best = np.argpartition(-values, k, axis=1)[:, :k]
    order = np.argsort(-np.take_along_axis(values, best, axis=1), axis=1, kind="stable")
    lists: list[list[int]] = np.take_along_axis(best, order, axis=1).tolist()
    return lists


def popularity(task: Task, histories: Histories, k: int) -> Lists:
    """All-time popularity."""
    prior = RecentPopularity(1e9).fit(task.fit).prior_
    return _ranked(task, histories, k, lambda block: np.tile(prior, (len(block), 1)))


def item_knn(task: Task, histories: Histories, k: int) -> Lists:
    """Cosine of items over customers, the 200 nearest, summed over the history."""
    model = Cooccurrence(group_power=0.0, row_power=0.5, column_power=0.5).fit(task.fit)
    n = task.prepared.product_count
    return _ranked(task, histories, k, lambda block: scores(block.seen(n), model.matrix_))


def als(task: Task, histories: Histories, k: int) -> Lists | None:
    """`implicit`: 256 factors, regularisation 10, alpha 40, 12 iterations."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
    except ImportError:
        return None
    settings: dict[str, Any] = {
        "factors": 256,
        "regularization": 10.0,
        "alpha": 40.0,
        "iterations": 12,
    }
    return _factorised(task, histories, k, AlternatingLeastSquares, settings)


def bpr(task: Task, histories: Histories, k: int) -> Lists | None:
    """`implicit`: 128 factors, 100 iterations."""
    try:
        from implicit.cpu.bpr import BayesianPersonalizedRanking
    except ImportError:
        return None
    settings: dict[str, Any] = {"factors": 128, "iterations": 100, "num_threads": 1}
    return _factorised(task, histories, k, BayesianPersonalizedRanking, settings)


def _factorised(
    task: Task, histories: Histories, k: int, kind: Any, settings: dict[str, Any]
) -> Lists:
    from threadpoolctl import threadpool_limits

    with warnings.catch_warnings(), threadpool_limits(1, "blas"):
        warnings.simplefilter("ignore")
        model = kind(random_state=0, **settings)
        model.fit(sp.csr_matrix(group_matrix(task.fit)), show_progress=False)
    customers, items = np.asarray(model.user_factors), np.asarray(model.item_factors)
    return _ranked(task, histories, k, lambda block: customers[block.customers] @ items.T)


PEERS: dict[str, Peer] = {
    "popularity": popularity,
    "item-kNN": item_knn,
    "implicit ALS": als,
    "implicit BPR": bpr,
}
