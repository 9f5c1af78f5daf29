"""The parts of the recommender, each a scikit-learn style estimator over coded interactions.

`fit(prepared)` returns self; item-to-item parts leave `matrix_` (CSR, rows = history item,
columns = recommended item, top `neighbours` kept), priors leave `prior_`. Products of matrices are
made in blocks of rows, never items × items dense.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from training.recommendation.prepare import Prepared

_BLOCK_ENTRIES = 20_000_000
_DAY_SECONDS = 86_400.0


class DecayedTransitions(BaseEstimator):
    """Directed item-to-item transitions: a pair `distance` steps apart adds decay^(distance-1).

    Backward pairs add `backward` of that. Rows are divided by count^`row_power`, columns by
    count^`column_power`. Source: the recipe in reference/recommendation.md.
    """

    def __init__(
        self,
        window: int = 10,
        decay: float = 0.85,
        backward: float = 0.2,
        row_power: float = 0.3,
        column_power: float = 0.05,
        neighbours: int = 200,
    ) -> None:
        self.window = window
        self.decay = decay
        self.backward = backward
        self.row_power = row_power
        self.column_power = column_power
        self.neighbours = neighbours

    def fit(self, prepared: Prepared) -> DecayedTransitions:
        n = prepared.product_count
        forward = sp.csr_matrix((n, n), dtype=np.float32)
        for distance in range(1, self.window + 1):
            same = prepared.customers[distance:] == prepared.customers[:-distance]
            before = prepared.items[:-distance][same]
            after = prepared.items[distance:][same]
            weight = np.full(len(before), self.decay ** (distance - 1), dtype=np.float32)
            forward = forward + sp.csr_matrix((weight, (before, after)), shape=(n, n))
        matrix = (forward + self.backward * forward.T).tocsr()
        matrix.setdiag(0)
        counts = np.maximum(np.bincount(prepared.items, minlength=n), 1).astype(np.float64)
        scaled = sp.diags(counts**-self.row_power) @ matrix @ sp.diags(counts**-self.column_power)
        self.matrix_ = unit_rows(keep_top(scaled.tocsr(), self.neighbours))
        return self


class BasketCooccurrence(BaseEstimator):
    """Degree-normalised co-occurrence: who took i also took j, over customers.

    M = X' D_u^-`customer_power` X with rows divided by count^`row_power` and columns by
    count^`column_power`.
    """

    def __init__(
        self,
        customer_power: float = 0.5,
        row_power: float = 0.5,
        column_power: float = 0.5,
        neighbours: int = 200,
    ) -> None:
        self.customer_power = customer_power
        self.row_power = row_power
        self.column_power = column_power
        self.neighbours = neighbours

    def fit(self, prepared: Prepared) -> BasketCooccurrence:
        seen = seen_matrix(prepared)
        degree = np.maximum(np.asarray(seen.sum(axis=1)).ravel(), 1.0)
        counts = np.maximum(np.asarray(seen.sum(axis=0)).ravel(), 1.0)
        weighted = (sp.diags(degree**-self.customer_power) @ seen).tocsr()
        right = weighted @ sp.diags(counts**-self.column_power)
        left = (sp.diags(counts**-self.row_power) @ seen.T).tocsr()
        self.matrix_ = unit_rows(blocked_product(left, right.tocsr(), self.neighbours))
        return self


class RecentPopularity(BaseEstimator):
    """How often each product was taken lately: counts halved every `half_life_days`.

    Infinite half-life is plain popularity. Without times, order stands for time and the half-life
    is ignored. `prior_` is scaled to a maximum of 1.
    """

    def __init__(self, half_life_days: float = 14.0) -> None:
        self.half_life_days = half_life_days

    def fit(self, prepared: Prepared) -> RecentPopularity:
        age = (prepared.times.max() - prepared.times) / _DAY_SECONDS
        timed = prepared.meta["timed"]
        weight = 0.5 ** (age / self.half_life_days) if timed else np.ones(len(age))
        prior = np.bincount(prepared.items, weights=weight, minlength=prepared.product_count)
        self.prior_ = prior / prior.max()
        return self


def seen_matrix(prepared: Prepared) -> sp.csr_matrix:
    """Customers × products, 1 where there was any interaction."""
    shape = (prepared.meta["customers"], prepared.product_count)
    ones = np.ones(len(prepared.items), dtype=np.float32)
    matrix = sp.csr_matrix((ones, (prepared.customers, prepared.items)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix


def blocked_product(left: sp.csr_matrix, right: sp.csr_matrix, neighbours: int) -> sp.csr_matrix:
    """`left @ right` without its diagonal, rows pruned to their top entries, block by block."""
    rows = left.shape[0]
    block = max(1, min(rows, _BLOCK_ENTRIES // max(1, right.shape[1])))
    parts = []
    for start in range(0, rows, block):
        part = (left[start : start + block] @ right).tocsr()
        coordinates = part.tocoo()
        off = coordinates.row + start != coordinates.col
        part = sp.csr_matrix(
            (coordinates.data[off], (coordinates.row[off], coordinates.col[off])),
            shape=part.shape,
        )
        parts.append(keep_top(part, neighbours))
    return sp.vstack(parts, format="csr")


def keep_top(matrix: sp.csr_matrix, count: int) -> sp.csr_matrix:
    """The `count` largest positive entries of each row; ties go to the lower column."""
    matrix.sort_indices()
    rows = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    order = np.lexsort((matrix.indices, -matrix.data, rows))
    rank = np.arange(len(order)) - np.repeat(matrix.indptr[:-1], np.diff(matrix.indptr))
    kept = order[(rank < count) & (matrix.data[order] > 0)]
    kept.sort()
    return sp.csr_matrix(
        (matrix.data[kept], (rows[kept], matrix.indices[kept])), shape=matrix.shape
    )


def unit_rows(matrix: sp.csr_matrix) -> sp.csr_matrix:
    """Scaled so that the mean of the rows' maxima is 1: parts become comparable."""
    maxima = matrix.max(axis=1).toarray().ravel()
    scale = maxima[maxima > 0].mean() if (maxima > 0).any() else 1.0
    return (matrix / scale).tocsr().astype(np.float32)


def blend(first: sp.csr_matrix, second: sp.csr_matrix, share: float, count: int) -> sp.csr_matrix:
    """`share` of the first and the rest of the second, pruned to `count` a row."""
    return keep_top((share * first + (1.0 - share) * second).tocsr(), count).astype(np.float32)
