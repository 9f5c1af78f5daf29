"""How well a run's model finds products on their first day. Called by `Evaluate`."""

from __future__ import annotations

from typing import Any

import numpy as np

from inference.recommender import Recommender
from training.recommendation.answers import heads, popular_order, recommend_all
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.histories import holdout_histories
from training.recommendation.metrics import evaluate_lists
from training.recommendation.newcomer_tuning import NEWCOMER_LENGTH
from training.recommendation.newcomers import newest
from training.recommendation.prepare import TEST, Prepared

ALL_TIME_DAYS = 1e9


def measure_newcomers(
    prepared: Prepared, configuration: RecommenderConfiguration, unaware: Recommender
) -> dict[str, Any]:
    """How a model fitted without the newest products finds those that customers took in the test
    window, among all products; beside it popularity, to which they do not exist."""
    hidden = newest(prepared, seed=configuration.seed)
    before, new = prepared.split < TEST, np.isin(prepared.items, hidden)
    asked = prepared.take(before != new)  # histories without them, targets of them alone
    histories = holdout_histories(
        asked,
        TEST,
        purchase_event=configuration.purchase_event,
        limit=configuration.evaluation_customers,
        seed=configuration.seed,
    )
    k, everybody = NEWCOMER_LENGTH, range(len(histories))
    order = popular_order(prepared.take(before & ~new), ALL_TIME_DAYS)
    found = {
        "challenger": recommend_all(unaware, histories, prepared, k=k),
        "popularity": heads(order, [set()] * len(histories), k),
    }
    targets = [set(histories.targets_of(row).tolist()) for row in everybody]
    figures = {
        name: evaluate_lists(lists, targets, k=k, product_count=prepared.product_count)
        for name, lists in found.items()
    }
    return {"hidden": len(hidden), "customers": len(histories), "models": figures}
