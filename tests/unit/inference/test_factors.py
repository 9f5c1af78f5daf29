"""The fold-in is the least squares of implicit ALS, and its parts sum to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.factors import Factors, factor_arrays, rerank_scale


def least_squares(factors: np.ndarray, gram: np.ndarray, history: list[int], alpha: float):
    """x as in Hu, Koren and Volinsky (2008), directly."""
    seen = factors[history]
    return np.linalg.solve(gram + alpha * seen.T @ seen, (1 + alpha) * seen.sum(axis=0))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    history=st.lists(st.integers(0, 29), min_size=1, max_size=20, unique=True),
    dimensions=st.integers(1, 12),
    alpha=st.sampled_from([0.5, 10.0, 40.0]),
)
def test_scores_equal_the_normal_equations_and_contributions_sum(
    seed: int, history: list[int], dimensions: int, alpha: float
) -> None:
    """Histories shorter and longer than the factors take different ways to the same."""
    factors = np.random.default_rng(seed).standard_normal((30, dimensions))
    gram = factors.T @ factors + 0.5 * np.eye(dimensions)
    expected = factors @ least_squares(factors, gram, history, alpha)
    served = Factors.of(factor_arrays(factors, gram))
    assert served is not None
    fold_in = served.fold_in(np.array(history), alpha=alpha)
    items = served.rows(np.arange(30))
    assert fold_in.scores(items) == pytest.approx(expected, abs=2e-3)
    parts = fold_in.contributions(items)
    assert parts.shape == (30, len(history))
    assert parts.sum(axis=1) == pytest.approx(fold_in.scores(items), abs=1e-4)


def test_an_artefact_without_factors_has_none() -> None:
    assert Factors.of({}) is None


def test_the_scale_is_the_ratio_of_the_best_means_or_nothing() -> None:
    assert rerank_scale(np.array([2.0, 4.0]), np.array([1.0, 0.5])) == pytest.approx(4.0)
    assert rerank_scale(np.array([0.0]), np.array([1.0])) == 0.0
    assert rerank_scale(np.array([1.0]), np.array([-1.0])) == 0.0
    assert rerank_scale(np.arange(100.0), np.ones(100)) == pytest.approx(np.arange(50, 100).mean())
