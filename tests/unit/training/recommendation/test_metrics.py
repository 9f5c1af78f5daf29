"""Ranking metrics against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.recommendation.metrics import evaluate_lists

SECOND = 1 / np.log2(3)  # the discount of rank 2; that of rank 1 is 1, of rank 3 it is 1/2


@pytest.mark.parametrize(
    ("found", "wanted", "recall", "ndcg", "mrr"),
    [
        ([1, 2, 3], {1}, 1.0, 1.0, 1.0),
        ([1, 2, 3], {3}, 1.0, 0.5, 1 / 3),
        ([1, 2, 3], {1, 2, 3, 4}, 0.75, 1.0, 1.0),
        ([1, 2, 3], {2, 3}, 1.0, (SECOND + 0.5) / (1 + SECOND), 0.5),
        ([1, 2, 3, 9], {9}, 0.0, 0.0, 0.0),
        ([1], {1, 2}, 0.5, 1 / (1 + SECOND), 1.0),
        ([], {1}, 0.0, 0.0, 0.0),
    ],
)
def test_one_customer(
    found: list[int], wanted: set[int], recall: float, ndcg: float, mrr: float
) -> None:
    figures = evaluate_lists([found], [wanted], k=3, product_count=10)
    expected = [recall, ndcg, float(recall > 0), mrr, min(3, len(found)) / 10]
    names = ["recall@3", "ndcg@3", "hr@3", "mrr@3", "coverage@3"]
    assert [figures[name] for name in names] == pytest.approx(expected)


def test_nobody_gives_zeros() -> None:
    assert set(evaluate_lists([], [], k=5, product_count=3).values()) == {0.0}


def ndcg_matrix(top: np.ndarray, relevant: np.ndarray, counts: np.ndarray) -> float:
    """Mean NDCG of many customers at once.

    `top` (customers, k) item codes; `relevant` (customers, items) bool; `counts` (customers,)
    numbers of relevant items.
    """
    k = top.shape[1]
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    hits = np.take_along_axis(relevant, top, axis=1)
    best = np.cumsum(discounts)[np.minimum(k, counts) - 1]
    return float(np.mean((hits * discounts).sum(axis=1) / best))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), customers=st.integers(1, 6), k=st.integers(1, 8))
def test_both_ways_to_compute_ndcg_agree(seed: int, customers: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    top = np.array([rng.permutation(8)[:k] for _ in range(customers)])
    relevant = rng.random((customers, 8)) < 0.4
    relevant[:, 0] = True
    targets = [set(np.flatnonzero(row).tolist()) for row in relevant]
    figures = evaluate_lists(top.tolist(), targets, k=k, product_count=8)
    assert ndcg_matrix(top, relevant, relevant.sum(axis=1)) == pytest.approx(figures[f"ndcg@{k}"])
