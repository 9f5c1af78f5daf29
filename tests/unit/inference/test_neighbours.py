"""The stored matrix is the given one to sixteen bits, padded, and gathered by rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference.errors import ArtifactError
from inference.history import Sources
from inference.neighbours import Neighbours, neighbour_arrays
from inference.quantised import quantised
from tests.unit.inference.stored_neighbours import csr_arrays

N = 7
MATRICES = hnp.arrays(
    np.float32,
    (N, N),
    elements=st.just(0.0) | st.sampled_from([1e-6, -3e-9, 1e-44]) | st.floats(-9, 9, width=32),
)


def as_csr(dense: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, columns = np.nonzero(dense)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=len(dense)))))
    return indptr, columns, dense[rows, columns]


def as_dense(csr: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    indptr, indices, values = csr
    dense = np.zeros((N, N))
    dense[np.repeat(np.arange(N), np.diff(indptr)), indices] = values
    return dense


@settings(max_examples=80, deadline=None)
@given(dense=MATRICES, dtype=st.sampled_from([np.int8, np.int16]))
def test_values_come_back_within_half_a_step_of_their_row(
    dense: np.ndarray, dtype: type[np.signedinteger]
) -> None:
    back = as_dense(csr_arrays(neighbour_arrays(*as_csr(dense), width=N, dtype=dtype)))
    step = np.abs(dense).max(axis=1, keepdims=True) / np.iinfo(dtype).max
    assert (np.abs(back - dense) <= 0.51 * step + 1e-38).all()


def test_both_value_sets_share_one_pattern_and_short_rows_are_padded() -> None:
    recent = np.array([3.0, 1.0, 2.0], dtype=np.float32)
    arrays = neighbour_arrays(
        np.array([0, 2, 2, 3]), np.array([1, 2, 0]), recent, recent[::-1], width=9
    )
    assert arrays["neighbours"].tolist() == [[1, 2], [0, 0], [0, 0]]
    assert arrays["recent"].shape == arrays["lasting"].shape == (3, 2)
    assert csr_arrays(arrays, "lasting")[2] == pytest.approx([2.0, 1.0, 3.0], rel=1e-4)


def test_a_gather_weighs_rows_and_adds_both_sets() -> None:
    indptr, indices = np.array([0, 2, 3, 3]), np.array([1, 2, 0])
    values = np.array([4.0, 2.0, 8.0], dtype=np.float32)
    matrix = Neighbours.of(neighbour_arrays(indptr, indices, values, values * 10, width=2))
    sources = Sources(np.array([1, 0]), np.array([1.0, 0.5]), np.array([0.0, 0.1]), "history")
    targets, weighted = matrix.gather(sources)
    assert targets.tolist() == [[0, 0], [1, 2]]
    assert weighted == pytest.approx(np.array([[8.0, 0.0], [6.0, 3.0]]), rel=1e-4)


def test_a_row_too_long_or_not_finite_is_refused() -> None:
    indptr, indices = np.array([0, 3]), np.array([0, 0, 0])
    with pytest.raises(ValueError, match="row 0 has 3 neighbours; prune to 2"):
        neighbour_arrays(indptr, indices, np.ones(3), width=2)
    with pytest.raises(ValueError, match="not finite"):
        neighbour_arrays(indptr, indices, np.array([1.0, np.nan, 1.0]), width=3)
    with pytest.raises(ValueError, match="int8 or int16"):
        quantised(np.ones((1, 1)), dtype=np.float16)


def test_arrays_that_do_not_belong_together_are_refused() -> None:
    arrays = neighbour_arrays(np.array([0, 1]), np.array([0]), np.ones(1), width=1)
    with pytest.raises(ArtifactError, match="without the arrays"):
        Neighbours.of({"neighbours": arrays["neighbours"]})
    with pytest.raises(ArtifactError, match="lasting is"):
        Neighbours.of({**arrays, "lasting": np.ones((3, 3)), "lasting_scale": np.ones(3)})
