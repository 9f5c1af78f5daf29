"""One contract for every item-to-item part, on a data set whose right answer is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.base import clone

from training.errors import DataQualityError
from training.recommendation.content import ContentSimilarity
from training.recommendation.cooccurrence import Cooccurrence
from training.recommendation.estimator import ItemToItemModel, as_prepared
from training.recommendation.matrices import LowRank, scores, top_of_dense, unit_rows
from training.recommendation.spectral import SpectralFilter
from training.recommendation.transitions import DecayedTransitions

MODELS = [
    DecayedTransitions(),
    Cooccurrence(),
    SpectralFilter(rank=2),
]


def checkerboard(customers: int = 30, products: int = 20) -> pd.DataFrame:
    """Customers take products of their own parity, all but one of them."""
    rows = [
        (f"c{c:02d}", f"p{p:02d}")
        for c in range(customers)
        for p in range(products)
        if p % 2 == c % 2 and p // 2 != c % 10
    ]
    return pd.DataFrame(rows, columns=["customer_id", "product_id"])


@pytest.mark.parametrize("model", MODELS, ids=str)
class TestContract:
    def test_recommends_what_is_missing_on_the_board(self, model: ItemToItemModel) -> None:
        fitted = clone(model).fit(checkerboard())
        history = [f"p{p:02d}" for p in range(0, 16, 2)]
        found, values = fitted.recommend(history, k=2)
        assert sorted(found) == ["p16", "p18"]
        assert (np.diff(values) <= 0).all()

    def test_similar_products_are_of_the_same_colour(self, model: ItemToItemModel) -> None:
        found, _ = clone(model).fit(checkerboard()).similar("p04", k=5)
        assert "p04" not in found
        assert all(int(product[1:]) % 2 == 0 for product in found)

    def test_a_matrix_and_a_frame_give_the_same(self, model: ItemToItemModel) -> None:
        frame = checkerboard()
        rows, columns = (
            pd.factorize(frame["customer_id"])[0],
            pd.factorize(frame["product_id"], sort=True)[0],
        )
        matrix = sp.csr_matrix((np.ones(len(rows)), (rows, columns)))
        one, other = clone(model).fit(frame), clone(model).fit(matrix)
        weights = sp.csr_matrix(np.eye(20, dtype=np.float32)[:5])
        np.testing.assert_allclose(
            scores(weights, one.matrix_), scores(weights, other.matrix_), atol=1e-5
        )

    def test_parameters_are_kept_and_fitting_twice_gives_the_same(
        self, model: ItemToItemModel
    ) -> None:
        copy = clone(model)
        assert copy.get_params() == model.get_params()
        weights = sp.csr_matrix(np.eye(20, dtype=np.float32))
        first = scores(weights, copy.fit(checkerboard()).matrix_)
        np.testing.assert_array_equal(first, scores(weights, copy.fit(checkerboard()).matrix_))

    def test_a_frame_without_products_is_refused(self, model: ItemToItemModel) -> None:
        with pytest.raises(DataQualityError, match="product_id"):
            clone(model).fit(pd.DataFrame({"customer_id": ["a"]}))


def test_transitions_equal_brute_force() -> None:
    draw = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"customer_id": np.repeat(np.arange(8), 9), "product_id": draw.integers(0, 7, 72)}
    )
    frame["timestamp"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(
        np.tile(np.arange(9), 8), unit="h"
    )
    prepared = as_prepared(frame)
    model = DecayedTransitions(window=3, decay=0.5, backward=0.25, row_power=0, column_power=0)
    expected = np.zeros((7, 7))
    items = prepared.items.reshape(8, 9)
    for row in items:
        for at, item in enumerate(row):
            for other, target in enumerate(row):
                distance = other - at
                if item != target and 0 < abs(distance) <= 3:
                    weight = 0.5 ** (abs(distance) - 1)
                    expected[item, target] += weight if distance > 0 else 0.25 * weight
    found = model.fit(prepared).matrix_.toarray()
    scale = expected.max(axis=1)[expected.max(axis=1) > 0].mean()
    np.testing.assert_allclose(found, expected / scale, rtol=1e-5)


def test_content_finds_the_like_of_what_nobody_bought() -> None:
    from datetime import UTC, datetime

    from training.datasets import Dataset
    from training.recommendation.prepare import code

    frame = checkerboard().assign(event="purchase", timestamp=datetime(2026, 1, 1, tzinfo=UTC))
    ids = [f"p{p:02d}" for p in range(20)] + ["new"]
    kinds = ["lamp" if p % 2 else "rug" for p in range(20)] + ["lamp"]
    products = pd.DataFrame({"product_id": ids, "category": kinds})
    prepared = code(Dataset(frame, products, None, pd.DataFrame(), {}), timed=True)
    model = ContentSimilarity(popularity=0.0).fit(prepared)
    found, values = model.similar("new", k=10)
    assert {int(product[1:]) % 2 for product in found} == {1}
    assert (values > 0).all()
    assert "new" in model.recommend(["p01"], k=10)[0]
    before = prepared.tokens.codes.copy()
    np.testing.assert_array_equal(before, prepared.tokens.codes)


@pytest.mark.parametrize("count", [1, 5, 40])
def test_the_top_of_a_dense_block_equals_sorting(count: int) -> None:
    block = np.random.default_rng(2).standard_normal((6, 30)).astype(np.float32)
    rows, columns = top_of_dense(block, count)
    for row in range(6):
        best = [c for c in np.argsort(-block[row], kind="stable") if block[row, c] > 0][:count]
        assert sorted(best) == columns[rows == row].tolist()


def test_a_low_rank_part_has_no_diagonal_and_unit_rows() -> None:
    draw = np.random.default_rng(3)
    part = LowRank(draw.random((9, 3)).astype(np.float32), draw.random((3, 9)).astype(np.float32))
    dense = part.left @ part.right
    np.fill_diagonal(dense, 0)
    weights = sp.random(4, 9, 0.5, "csr", rng=draw).astype(np.float32)
    np.testing.assert_allclose(scores(weights, part), weights @ dense, rtol=1e-4, atol=1e-5)
    scaled = unit_rows(part)
    assert isinstance(scaled, LowRank)
    assert scaled.rows(0, 9).max(axis=1).mean() == pytest.approx(1.0, rel=1e-4)
