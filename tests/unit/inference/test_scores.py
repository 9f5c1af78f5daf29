"""The best products are those of a full sort, also where more are asked than a row is wide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from inference.scores import Scores, Trend, ordered

PRODUCTS, SOURCES, WIDTH = 3_000, 20, 100


def make_scores(seed: int, *, peak: float, levels: int, banned: int) -> Scores:
    """Values of few `levels` tie often; `peak` is the most that the trend gives."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(PRODUCTS, WIDTH, replace=False) for _ in range(SOURCES)]
    targets = np.array(rows, dtype=np.int64)
    values = rng.integers(1, levels + 1, targets.shape) / levels
    personal = np.bincount(targets.ravel(), values.ravel(), minlength=PRODUCTS)
    personal[rng.choice(PRODUCTS, banned, replace=False)] = -np.inf
    trend = peak * rng.random(PRODUCTS) ** 4
    return Scores(
        targets=targets,
        values=values,
        strengths=np.ones(SOURCES),
        personal=personal,
        repeats=np.empty(0, dtype=np.int64),
        trend=Trend(trend if peak else None, np.argsort(-trend, kind="stable")),
    )


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    count=st.sampled_from([5, 60, 150, 500, 1_500, 3_000]),
    peak=st.sampled_from([0.0, 0.1, 1.0, 20.0]),
    levels=st.sampled_from([2, 1_000_000]),
    banned=st.sampled_from([0, 500]),
)
def test_the_best_are_those_of_a_full_sort(
    seed: int, count: int, peak: float, levels: int, banned: int
) -> None:
    scores = make_scores(seed, peak=peak, levels=levels, banned=banned)
    every = scores.of(np.arange(PRODUCTS))
    expected = np.lexsort((np.arange(PRODUCTS), -every))[: min(count, PRODUCTS - banned)]
    items, found = scores.best(count, None)
    assert items.tolist() == expected.tolist()
    assert found.tolist() == every[expected].tolist()


@pytest.mark.parametrize("levels", [2, 1_000_000])
def test_entries_of_some_products_are_all_their_places(levels: int) -> None:
    scores = make_scores(0, peak=0.1, levels=levels, banned=0)
    items, _ = scores.best(200, None)
    at, place = scores.entries_of(items)
    expected = np.flatnonzero(np.isin(scores.targets.ravel(), items))
    assert at.tolist() == expected.tolist()
    assert items[place].tolist() == scores.targets.ravel()[at].tolist()


def test_a_copy_that_leaves_a_product_out_changes_nothing_for_the_first() -> None:
    """A regression: both kept what they found in one place, so that a model that leaves out what
    was seen did so in spite of a request that wanted it."""
    scores = make_scores(0, peak=0.0, levels=1_000_000, banned=0)
    items, _ = make_scores(0, peak=0.0, levels=1_000_000, banned=0).best(5, None)
    outside = np.setdiff1d(items, scores.targets[-2:])  # so that both start from the same floor
    personal = scores.personal.copy()
    personal[outside] = -np.inf
    without, _ = replace(scores, personal=personal).best(5, None)
    assert len(outside)
    assert not np.isin(outside, without).any()
    assert scores.best(5, None)[0].tolist() == items.tolist()


def test_products_with_the_same_score_stand_by_code_and_once() -> None:
    items = np.array([7, 3, 7, 5, 3, 1])
    codes, best = ordered(items, np.array([2.0, 2.0, 2.0, 9.0, 2.0, 1.0]))
    assert codes.tolist() == [5, 3, 7, 1]
    assert best.tolist() == [9.0, 2.0, 2.0, 1.0]
