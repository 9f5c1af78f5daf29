"""Implicit-feedback matrix factorisation: item factors that re-rank the sparse candidates."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.base import BaseEstimator
from threadpoolctl import threadpool_limits

from training.recommendation.cooccurrence import group_matrix
from training.recommendation.histories import Histories
from training.recommendation.parameters import HISTORY_LENGTH
from training.recommendation.prepare import Prepared


class ItemFactors(BaseEstimator):
    """Weighted ALS (Hu, Koren, Volinsky 2008) by the `implicit` library.

    `item_factors_` (products, factors) float32 and `gram_` = Y'Y + `regularization` I (factors,
    factors): all that a customer's fold-in needs.
    """

    def __init__(
        self,
        factors: int = 128,
        regularization: float = 10.0,
        alpha: float = 40.0,
        iterations: int = 10,
        random_state: int = 0,
    ) -> None:
        self.factors = factors
        self.regularization = regularization
        self.alpha = alpha
        self.iterations = iterations
        self.random_state = random_state

    def fit(self, prepared: Prepared) -> ItemFactors:
        from implicit.cpu.als import AlternatingLeastSquares  # a second: only where it is used

        # The library warns of BLAS threads while it is made; they are limited while it works.
        with warnings.catch_warnings(), threadpool_limits(1, "blas"):
            warnings.simplefilter("ignore")
            model = AlternatingLeastSquares(
                factors=self.factors,
                regularization=self.regularization,
                alpha=self.alpha,
                iterations=self.iterations,
                random_state=self.random_state,
                num_threads=1,  # sums in one order: the same bytes every time
            )
            model.fit(group_matrix(prepared), show_progress=False)
        self.item_factors_ = np.asarray(model.item_factors, dtype=np.float32)
        self.gram_ = gram_of(self.item_factors_, self.regularization)
        return self


def gram_of(factors: np.ndarray, regularization: float) -> np.ndarray:
    """Y'Y + λI in float64."""
    wide = factors.astype(np.float64)
    return np.asarray(wide.T @ wide + regularization * np.eye(factors.shape[1]))


def fold_in(histories: Histories, model: ItemFactors) -> np.ndarray:
    """Customer factors (customers, factors): the half-step of ALS, as serving makes it.

    On one thread: systems so small take many times as long where threads wait for each other.
    """
    result = np.zeros((len(histories), model.factors), dtype=np.float32)
    with threadpool_limits(1, "blas"):
        for row in range(len(histories)):
            items = np.unique(histories.items[histories.history(row)][-HISTORY_LENGTH:])
            chosen = model.item_factors_[items].astype(np.float64)
            left = model.gram_ + model.alpha * (chosen.T @ chosen)
            result[row] = np.linalg.solve(left, (1.0 + model.alpha) * chosen.sum(axis=0))
    return result
