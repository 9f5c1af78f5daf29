"""What a model answers the customers of a holdout, and what popularity would.

Called by `Evaluate` and by the benchmarks.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import islice

import numpy as np
from threadpoolctl import threadpool_limits

from inference.contracts import MAX_HISTORY, HistoryEvent, ProductRequest
from inference.recommender import Recommender
from training.recommendation.histories import Histories
from training.recommendation.popularity import RecentPopularity
from training.recommendation.prepare import Prepared


def recommend_all(
    recommender: Recommender,
    histories: Histories,
    prepared: Prepared,
    *,
    k: int,
    exclude_seen: bool | None = None,
    only: list[str] | None = None,
) -> list[list[int]]:
    """Each customer's top k by the serving core, as this run's item codes (-1: not among them);
    of the products `only`, where they are given.

    On one thread, as the Lambda answers: the matrices of a decision are too small for more.
    """
    code_of = {product: code for code, product in enumerate(prepared.meta["product_ids"])}
    now = _window_start(prepared)
    found = []
    with threadpool_limits(1, "blas"):
        for row in range(len(histories)):
            request = ProductRequest(
                history=events_of(histories, row, prepared, now),
                limit=k,
                exclude_seen=exclude_seen,
                include_products=only,
                include_unavailable=True,
            )
            answer = recommender.recommend(request, now=now)
            found.append([code_of.get(p.product_id, -1) for p in answer.products])
    return found


def _window_start(prepared: Prepared) -> datetime:
    start = prepared.meta["window"]["test"]
    return datetime.fromtimestamp(start or 0, UTC)


def events_of(
    histories: Histories, row: int, prepared: Prepared, now: datetime
) -> list[str | HistoryEvent]:
    product_ids, names = prepared.meta["product_ids"], prepared.meta["events"]
    timed = prepared.meta["timed"]
    place = histories.history(row)
    place = slice(max(place.start, place.stop - MAX_HISTORY), place.stop)
    return [
        HistoryEvent(
            product_ids[item],
            event=names[event],
            timestamp=now - timedelta(days=float(age)) if timed else None,
        )
        for item, event, age in zip(
            histories.items[place].tolist(),
            histories.events[place].tolist(),
            histories.ages[place].tolist(),
            strict=True,
        )
    ]


def popular_order(past: Prepared, half_life_days: float) -> list[int]:
    prior = RecentPopularity(half_life_days).fit(past).prior_
    order: list[int] = np.argsort(-prior, kind="stable").tolist()
    return order


def heads(order: list[int], without: list[set[int]], k: int) -> list[list[int]]:
    """For each customer, the first `k` of `order` that are not in their `without`."""
    return [
        list(islice((item for item in order if item not in out), k)) if out else order[:k]
        for out in without
    ]
