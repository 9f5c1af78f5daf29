"""Spectral low-pass filter: the smooth part of the customer-product graph, as item-to-item."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from training.recommendation.cooccurrence import group_matrix
from training.recommendation.estimator import ItemToItemModel
from training.recommendation.matrices import LowRank, unit_rows
from training.recommendation.prepare import Prepared

_OVERSAMPLING = 32
_LEAST_VALUE = 1e-6  # of the largest, squared: what is below is rounding


class SpectralFilter(ItemToItemModel):
    """M = D_i^-`item_power` V V' D_i^`item_power` with V the first `rank` right singular vectors
    of D_u^-`customer_power` X D_i^-`item_power`, D_i the products' and D_u the customers' counts.

    The ideal low-pass filter of GF-CF (Shen et al. 2021) with free exponents. Kept as two thin
    matrices: `matrix_` is a `LowRank`.
    """

    def __init__(
        self,
        customer_power: float = 0.35,
        item_power: float = 0.45,
        rank: int = 512,
        iterations: int = 3,
        random_state: int = 0,
    ) -> None:
        self.customer_power = customer_power
        self.item_power = item_power
        self.rank = rank
        self.iterations = iterations
        self.random_state = random_state

    def fit_prepared(self, prepared: Prepared) -> SpectralFilter:
        seen = group_matrix(prepared)
        vectors = singular_vectors(
            normalised(seen, self.customer_power, self.item_power),
            self.rank,
            iterations=self.iterations,
            random_state=self.random_state,
        )
        self.matrix_ = filter_of(vectors, item_counts(seen), self.rank, self.item_power)
        return self


def filter_of(vectors: np.ndarray, counts: np.ndarray, rank: int, item_power: float) -> LowRank:
    """The low-pass matrix of the first `rank` of `vectors` (products, r)."""
    scale = (counts**item_power).astype(np.float32)[:, None]
    kept = vectors[:, :rank]
    # Contiguous: a BLAS product of a transposed view is slower by half.
    part = unit_rows(LowRank(kept / scale, np.ascontiguousarray((kept * scale).T)))
    assert isinstance(part, LowRank)
    return part


def item_counts(seen: sp.csr_matrix) -> np.ndarray:
    """Customers of each product, at least 1."""
    return np.maximum(np.bincount(seen.indices, minlength=seen.shape[1]), 1.0)


def normalised(seen: sp.csr_matrix, customer_power: float, item_power: float) -> sp.csr_matrix:
    """D_u^-`customer_power` X D_i^-`item_power`, float32."""
    degree = np.maximum(np.diff(seen.indptr), 1.0) ** -customer_power
    matrix = seen.astype(np.float32)
    matrix.data *= np.repeat(degree, np.diff(seen.indptr)).astype(np.float32)
    matrix.data *= (item_counts(seen) ** -item_power).astype(np.float32)[seen.indices]
    return matrix


def singular_vectors(
    matrix: sp.csr_matrix, rank: int, *, iterations: int, random_state: int
) -> np.ndarray:
    """The leading right singular vectors (columns, rank), by randomised subspace iteration.

    Halko, Martinsson, Tropp (2011), orthogonalised by Cholesky, which costs a third of QR or LU at
    these shapes. Fewer than `rank` columns where the matrix has no more.
    """
    width = min(rank + _OVERSAMPLING, *matrix.shape)
    transposed = matrix.T.tocsr()
    generator = np.random.default_rng(random_state)
    basis = generator.standard_normal((matrix.shape[1], width), dtype=np.float32)
    for _ in range(iterations):
        basis = _orthonormal(transposed @ (matrix @ basis))
    projected = matrix @ basis
    values, rotation = np.linalg.eigh((projected.T @ projected).astype(np.float64))
    leading = np.argsort(-values)[: min(rank, width)]
    leading = leading[values[leading] > _LEAST_VALUE * values.max()]
    return basis @ np.ascontiguousarray(rotation[:, leading]).astype(np.float32)


def _orthonormal(block: np.ndarray) -> np.ndarray:
    for _ in range(2):
        gram = (block.T @ block).astype(np.float64)
        ridge = 1e-7 * np.trace(gram) / len(gram) + 1e-30
        try:
            lower = np.linalg.cholesky(gram + ridge * np.eye(len(gram)))
        except np.linalg.LinAlgError:  # fewer directions than columns
            return np.linalg.qr(block)[0]
        block = block @ np.linalg.inv(lower).T.astype(np.float32)
    return block
