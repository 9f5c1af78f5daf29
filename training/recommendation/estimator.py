"""The contract of every item-to-item part, as a scikit-learn style estimator.

`fit` takes prepared interactions (as the job has them), a pandas frame with `customer_id`,
`product_id` and perhaps `timestamp`, or a scipy matrix customers × products. `matrix_` is a CSR
matrix (rows = history item, columns = recommended item) or a `LowRank`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp
from sklearn.base import BaseEstimator

from training.errors import DataQualityError
from training.recommendation.matrices import Part, scores
from training.recommendation.prepare import Prepared, from_frame

Interactions: TypeAlias = Prepared | pd.DataFrame | sp.csr_matrix


class ItemToItemModel(BaseEstimator, ABC):
    """Base of the parts: subclasses set `matrix_` in `fit_prepared`."""

    matrix_: Part

    def fit(self, interactions: Interactions, y: None = None) -> Self:
        """Learn from interactions; returns self. Raises `DataQualityError` for a frame without
        the columns."""
        prepared = as_prepared(interactions)
        self.product_ids_ = np.asarray(prepared.meta["product_ids"])
        self.n_features_in_ = prepared.product_count
        return self.fit_prepared(prepared)

    @abstractmethod
    def fit_prepared(self, prepared: Prepared) -> Self:
        """Learn `matrix_` from prepared interactions; returns self."""

    def recommend(
        self, history: Sequence[str] | sp.csr_matrix, k: int = 10, *, exclude_seen: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """The `k` best products and their scores, best first.

        `history`: one customer's product ids → arrays (k,); or a scipy matrix (customers,
        products) → arrays (customers, k).
        """
        single = not sp.issparse(history)
        weights = self._weights(history) if single else sp.csr_matrix(history)
        found = scores(weights.astype(np.float32), self.matrix_)
        if exclude_seen:
            rows = np.repeat(np.arange(weights.shape[0]), np.diff(weights.indptr))
            found[rows, weights.indices] = -np.inf
        order = np.argsort(-found, axis=1, kind="stable")[:, :k]
        ids, values = self.product_ids_[order], np.take_along_axis(found, order, axis=1)
        return (ids[0], values[0]) if single else (ids, values)

    def similar(self, product_id: str, k: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The `k` nearest products of one and how near, nearest first."""
        return self.recommend([product_id], k)

    def _weights(self, history: Sequence[str]) -> sp.csr_matrix:
        place = {product: code for code, product in enumerate(self.product_ids_.tolist())}
        codes = [place[product] for product in history if product in place]
        ones = np.ones(len(codes), dtype=np.float32)
        rows = np.zeros(len(codes), dtype=np.int32)
        return sp.csr_matrix((ones, (rows, codes)), shape=(1, len(self.product_ids_)))


def as_prepared(interactions: Interactions) -> Prepared:
    """Interactions of any accepted form as `Prepared`."""
    if isinstance(interactions, Prepared):
        return interactions
    if isinstance(interactions, pd.DataFrame):
        missing = {"customer_id", "product_id"} - set(interactions.columns)
        if missing:
            raise DataQualityError(f"interactions: column {sorted(missing)[0]!r} is missing")
        return from_frame(interactions)
    matrix = sp.coo_matrix(interactions)
    frame = pd.DataFrame({"customer_id": matrix.row, "product_id": matrix.col})
    return from_frame(frame, products=np.arange(matrix.shape[1]))
