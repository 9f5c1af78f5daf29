"""Degree-normalised co-occurrence of items: who took i also took j, by customer or by basket."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from training.recommendation.estimator import ItemToItemModel
from training.recommendation.matrices import blocked_product, unit_rows
from training.recommendation.prepare import Prepared

MOST_ITEMS = 500


class Cooccurrence(ItemToItemModel):
    """M = X' D^-`group_power` X with rows divided by count^`row_power` and columns by
    count^`column_power`; X is groups × products, a group a customer or (`by="basket"`) a visit.

    A group counts with its latest 500 items at most: its pairs grow with their square.
    """

    def __init__(
        self,
        by: str = "customer",
        group_power: float = 0.5,
        row_power: float = 0.5,
        column_power: float = 0.5,
        neighbours: int = 200,
    ) -> None:
        self.by = by
        self.group_power = group_power
        self.row_power = row_power
        self.column_power = column_power
        self.neighbours = neighbours

    def fit_prepared(self, prepared: Prepared) -> Cooccurrence:
        seen = group_matrix(prepared, by=self.by)
        degree = np.maximum(np.diff(seen.indptr), 1.0)
        counts = np.maximum(np.bincount(seen.indices, minlength=seen.shape[1]), 1.0)
        weighted = sp.diags_array((degree**-self.group_power).astype(np.float32)) @ seen
        right = weighted @ sp.diags_array((counts**-self.column_power).astype(np.float32))
        left = sp.diags_array((counts**-self.row_power).astype(np.float32)) @ seen.T
        product = blocked_product(sp.csr_matrix(left), sp.csr_matrix(right), self.neighbours)
        self.matrix_ = unit_rows(product)
        return self


def group_matrix(prepared: Prepared, *, by: str = "customer") -> sp.csr_matrix:
    """Groups × products, 1 where there was any interaction; at most `MOST_ITEMS` events a group."""
    groups = prepared.customers.astype(np.int64) if by == "customer" else prepared.baskets
    size = int(groups.max(initial=-1)) + 1
    order = np.argsort(groups, kind="stable")
    lengths = np.bincount(groups, minlength=size)
    from_end = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(order))
    order = order[from_end <= MOST_ITEMS]
    indptr = np.concatenate(([0], np.cumsum(np.bincount(groups[order], minlength=size))))
    ones = np.ones(len(order), dtype=np.float32)
    shape = (size, prepared.product_count)
    matrix = sp.csr_matrix((ones, prepared.items[order].astype(np.int32), indptr), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1.0
    return matrix
