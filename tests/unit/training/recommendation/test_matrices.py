"""Sparse pruning and products against the same thing done densely."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from training.recommendation.matrices import BLOCK_ENTRIES as _BLOCK_ENTRIES
from training.recommendation.matrices import blocked_product, keep_top, unit_rows

SMALL = st.sampled_from([-1.0, 0.0, 0.0, 0.5, 1.0, 2.0])
MATRICES = hnp.arrays(np.float64, st.tuples(st.integers(1, 5), st.integers(1, 6)), elements=SMALL)


def dense_top(matrix: np.ndarray, count: int) -> np.ndarray:
    kept = np.zeros_like(matrix)
    for row, values in enumerate(matrix):
        best = sorted(range(len(values)), key=lambda j: (-values[j], j))[:count]
        for column in best:
            kept[row, column] = max(0.0, values[column])
    return kept


@settings(max_examples=80, deadline=None)
@given(matrix=MATRICES, count=st.integers(1, 7))
def test_keep_top_equals_dense(matrix: np.ndarray, count: int) -> None:
    kept = keep_top(sp.csr_matrix(matrix), count)
    np.testing.assert_array_equal(kept.toarray(), dense_top(matrix, count))
    assert (kept.data > 0).all()


@pytest.mark.parametrize("neighbours", [1, 3, 7])
def test_blocked_product_equals_dense(neighbours: int) -> None:
    rng = np.random.default_rng(0)
    left = rng.random((7, 4)) * (rng.random((7, 4)) < 0.6)
    right = rng.random((4, 7)) * (rng.random((4, 7)) < 0.6)
    expected = left @ right
    np.fill_diagonal(expected, 0)
    found = blocked_product(sp.csr_matrix(left), sp.csr_matrix(right), neighbours)
    np.testing.assert_allclose(found.toarray(), dense_top(expected, neighbours))


def test_a_product_of_several_blocks_has_no_seams() -> None:
    size = 4_600  # more than _BLOCK_ENTRIES when dense, so two blocks
    assert size**2 > _BLOCK_ENTRIES
    rng = np.random.default_rng(1)
    left = sp.random(size, 300, 0.005, "csr", rng=rng)
    right = sp.random(300, size, 0.005, "csr", rng=rng)
    whole = (left @ right).tocsr()
    whole.setdiag(0)
    assert abs(blocked_product(left, right, 5) - keep_top(whole, 5)).max() == 0


def test_unit_rows_have_maxima_of_one_on_average_and_take_an_empty_matrix() -> None:
    scaled = unit_rows(sp.csr_matrix(np.array([[1.0, 3.0], [0.0, 1.0], [0.0, 0.0]]))).toarray()
    np.testing.assert_allclose(scaled, [[0.5, 1.5], [0.0, 0.5], [0.0, 0.0]])
    assert unit_rows(sp.csr_matrix((2, 2))).nnz == 0
