"""Directed item-to-item transitions: what is taken after what, and how soon."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from training.recommendation.estimator import ItemToItemModel
from training.recommendation.matrices import BLOCK_ENTRIES, keep_top, unit_rows
from training.recommendation.prepare import Prepared


class DecayedTransitions(ItemToItemModel):
    """A pair of one customer's items `distance` steps apart adds decay^(distance - 1).

    Pairs against the order add `backward` of that. Rows are divided by count^`row_power`, columns
    by count^`column_power`. Pairs are counted for blocks of items: memory does not grow with the
    number of interactions. Source: the recipe in reference/recommendation.md.
    """

    def __init__(
        self,
        window: int = 20,
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

    def fit_prepared(self, prepared: Prepared) -> DecayedTransitions:
        n = prepared.product_count
        counts = np.bincount(prepared.items, minlength=n)
        order = np.argsort(prepared.items, kind="stable")
        ends = np.concatenate(([0], np.cumsum(counts)))
        column_scale = np.maximum(counts, 1.0) ** -self.column_power
        blocks = []
        for start, stop in self._blocks(counts):
            block = self._pairs(prepared, order[ends[start] : ends[stop]], start, stop)
            block = block @ sp.diags_array(column_scale.astype(np.float32))
            blocks.append(keep_top(sp.csr_matrix(block), self.neighbours))
        row_scale = np.maximum(counts, 1.0) ** -self.row_power
        matrix = sp.diags_array(row_scale.astype(np.float32)) @ sp.vstack(blocks, format="csr")
        self.matrix_ = unit_rows(sp.csr_matrix(matrix))
        return self

    def _blocks(self, counts: np.ndarray) -> list[tuple[int, int]]:
        """Ranges of items with about as many pairs each as fit a block."""
        pairs = np.cumsum(counts * 2 * self.window) // BLOCK_ENTRIES
        cuts = np.flatnonzero(np.diff(pairs)) + 1
        edges = [0, *cuts.tolist(), len(counts)]
        return [(a, b) for a, b in pairwise(edges) if b > a]

    def _pairs(self, prepared: Prepared, at: np.ndarray, start: int, stop: int) -> sp.csr_matrix:
        """The weighted pairs of the events `at`, whose items are `start` up to `stop`."""
        rows, columns, values = [], [], []
        customers, items = prepared.customers, prepared.items
        for distance in range(1, self.window + 1):
            for step, share in ((distance, 1.0), (-distance, self.backward)):
                if not share:
                    continue
                other = at + step
                inside = (other >= 0) & (other < len(items))
                here, there = at[inside], other[inside]
                same = customers[here] == customers[there]
                here, there = here[same], there[same]
                here, there = here[items[here] != items[there]], there[items[here] != items[there]]
                rows.append(items[here] - start)
                columns.append(items[there])
                weight = share * self.decay ** (distance - 1)
                values.append(np.full(len(here), weight, dtype=np.float32))
        shape = (stop - start, prepared.product_count)
        entries = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
        return sp.csr_matrix(entries, shape=shape)
