"""Item factors that re-rank the matrix's best candidates: the fold-in of implicit ALS. Numpy only.

The user vector of a history H of distinct products is the least squares solution (Hu, Koren and
Volinsky 2008) with confidence 1 + alpha for each of them:

    x = (G + alpha Σ_h y_h y_h')^-1 Σ_h (1 + alpha) y_h          G = Y'Y + lambda I,   f_j = x · y_j

Training stores W = Y G^-1/2 in place of Y, so that G becomes the identity and a history shorter
than the factors needs only a system of its own size (Woodbury). f_j is a sum over the history for
a given H, so the reasons stay exact. Runs in a Lambda.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import DTypeLike

from inference.quantised import quantised

SCALE_BY_BEST = 50


def factor_arrays(
    item_factors: np.ndarray, gram: np.ndarray, *, dtype: DTypeLike = np.int16
) -> dict[str, np.ndarray]:
    """The arrays to store, of item factors Y (products, d) and their gram G = Y'Y + lambda I.

    `dtype` is int16 or int8. Raises `ValueError` for numbers that are not finite, and
    `numpy.linalg.LinAlgError` for a gram that is not positive definite.
    """
    root = np.linalg.cholesky(np.asarray(gram, dtype=np.float64))
    whitened = np.linalg.solve(root, np.asarray(item_factors, dtype=np.float64).T).T
    codes, scale = quantised(np.ascontiguousarray(whitened), dtype=dtype)
    return {"factors": codes, "factors_scale": scale}


@dataclass(frozen=True)
class Factors:
    """Whitened item factors: integers (products, d), each row to be multiplied by its scale."""

    codes: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Factors | None:
        """The artefact's factors, None where it has none."""
        if "factors" not in arrays:
            return None
        return cls(arrays["factors"], np.asarray(arrays["factors_scale"]))

    def rows(self, items: np.ndarray) -> np.ndarray:
        """float32 (items, d)."""
        # Widened first: numpy multiplies floats in place far faster than integers with floats.
        rows = self.codes.take(items, axis=0).astype(np.float32)
        rows *= self.scale.take(items)[:, None]
        return rows

    def fold_in(self, history: np.ndarray, *, alpha: float) -> FoldIn:
        """The customer of these distinct history items."""
        rows = self.rows(history)
        short = len(rows) <= rows.shape[1]
        small = (rows @ rows.T if short else rows.T @ rows).astype(np.float64)
        system = alpha * small
        system.ravel()[:: len(system) + 1] += 1.0
        known = np.ones(len(rows)) if short else rows.sum(axis=0, dtype=np.float64)
        solution = (1.0 + alpha) * np.linalg.solve(system, known)
        user = solution @ rows if short else solution
        return FoldIn(rows, system, user.astype(np.float32), alpha)


@dataclass(frozen=True)
class FoldIn:
    """A customer folded in: history factors (h, d), the system solved, the user vector (d,)."""

    rows: np.ndarray
    system: np.ndarray
    user: np.ndarray
    alpha: float

    def scores(self, items: np.ndarray) -> np.ndarray:
        """f of items whose factors are `items` (items, d); float64 (items,)."""
        return (items @ self.user).astype(np.float64)

    def contributions(self, items: np.ndarray) -> np.ndarray:
        """What each history item adds to each f: float64 (items, h), rows sum to `scores`."""
        if len(self.system) == len(self.rows):
            solved = np.linalg.solve(self.system, (self.rows @ items.T).astype(np.float64))
        else:
            solved = self.rows @ np.linalg.solve(self.system, items.T.astype(np.float64))
        return (1.0 + self.alpha) * solved.T


def rerank_scale(scores: np.ndarray, factor_scores: np.ndarray) -> float:
    """What brings factor scores to the scale of the candidates' scores: the ratio of the means of
    the best 50 of each. 0 where either mean is not positive: then the factors say nothing."""
    means = [np.sort(values)[-SCALE_BY_BEST:].mean() for values in (scores, factor_scores)]
    return float(means[0] / means[1]) if min(means) > 0 else 0.0
