"""Validation customers with a pool of candidates each: what a trial of the search is scored on.

A trial costs a few passes over (customers, candidates) instead of (customers, products). The pool
of a customer holds the best of every part at the start, the head of the trend, the history and the
targets; a target that no part can find counts as missed all the same, for it scores as low as it
should.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from training.recommendation.histories import Histories
from training.recommendation.matrices import row_blocks

Dense = Callable[[Histories], np.ndarray]


@dataclass(frozen=True)
class Pool:
    """`codes` (customers, width) ascending item codes, -1 where there is none; `seen` marks those
    in the history. Target `t` is of customer `target_rows[t]`, in column `target_columns[t]`."""

    histories: Histories
    product_count: int
    codes: np.ndarray
    seen: np.ndarray
    target_rows: np.ndarray
    target_columns: np.ndarray

    def gather(self, dense: Dense) -> np.ndarray:
        """A feature (customers, width) float32 from a function that scores whole catalogues."""
        result = np.zeros(self.codes.shape, dtype=np.float32)
        for start, stop in row_blocks(len(self.histories), self.product_count):
            block = dense(self.histories.block(start, stop))
            codes = np.maximum(self.codes[start:stop], 0)
            result[start:stop] = np.take_along_axis(block, codes, axis=1)
        result[self.codes < 0] = 0.0
        return result

    def ndcg(self, scores: np.ndarray, *, k: int, exclude_seen: bool) -> float:
        """Mean NDCG@k; a tie with a target counts against it."""
        out = self.codes < 0
        if exclude_seen:
            out = out | self.seen
        masked = np.where(out, -np.inf, scores)
        gains = np.zeros(len(self.target_rows))
        for start in range(0, len(gains), 4096):
            part = slice(start, start + 4096)
            rows, columns = self.target_rows[part], self.target_columns[part]
            own = masked[rows, columns]
            rank = (masked[rows] >= own[:, None]).sum(axis=1)
            gains[part] = np.where((rank <= k) & np.isfinite(own), 1.0 / np.log2(rank + 1.0), 0.0)
        discounts = np.cumsum(1.0 / np.log2(np.arange(2, k + 2)))
        counts = np.bincount(self.target_rows, minlength=len(self.codes))
        found = np.bincount(self.target_rows, weights=gains, minlength=len(self.codes))
        asked = counts > 0
        return float(np.mean(found[asked] / discounts[np.minimum(counts[asked], k) - 1]))

    def new_only(self) -> Pool:
        """The same with only those targets that are not in the customer's history."""
        new = ~self.seen[self.target_rows, self.target_columns]
        return replace(
            self, target_rows=self.target_rows[new], target_columns=self.target_columns[new]
        )


def build_pool(
    histories: Histories,
    features: list[Dense],
    *,
    product_count: int,
    head: np.ndarray,
    per_feature: int,
) -> Pool:
    """The pool of the best `per_feature` products by each feature, and the `head` of the trend."""
    owners, codes = [], []
    for start, stop in row_blocks(len(histories), product_count):
        block = histories.block(start, stop)
        rows = np.arange(start, stop)
        for dense in features:
            best = _best(dense(block), per_feature)
            owners.append(np.repeat(rows, best.shape[1]))
            codes.append(best.ravel())
        owners.append(np.repeat(rows, len(head)))
        codes.append(np.tile(head, len(rows)))
    everybody = np.arange(len(histories))
    target_rows = np.repeat(everybody, np.diff(histories.target_indptr))
    owners += [np.repeat(everybody, np.diff(histories.indptr)), target_rows]
    codes += [histories.items, histories.targets]
    table = _padded(np.concatenate(owners), np.concatenate(codes), len(histories), product_count)
    seen = _contains(table, histories.seen(product_count))
    columns = [
        int(np.searchsorted(table[row][table[row] >= 0], item))
        for row, item in zip(target_rows.tolist(), histories.targets.tolist(), strict=True)
    ]
    return Pool(histories, product_count, table, seen, target_rows, np.array(columns))


def _best(scores: np.ndarray, count: int) -> np.ndarray:
    count = min(count, scores.shape[1])
    return np.argpartition(-scores, count - 1, axis=1)[:, :count]


def _padded(owners: np.ndarray, codes: np.ndarray, rows: int, product_count: int) -> np.ndarray:
    keys = np.unique(owners.astype(np.int64) * product_count + codes)
    owners, codes = keys // product_count, keys % product_count
    lengths = np.bincount(owners, minlength=rows)
    place = np.arange(len(keys)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    table = np.full((rows, int(lengths.max())), -1, dtype=np.int32)
    table[owners, place] = codes
    return table


def _contains(table: np.ndarray, members: sp.csr_matrix) -> np.ndarray:
    result = np.zeros(table.shape, dtype=bool)
    for start, stop in row_blocks(*members.shape):
        dense = members[start:stop].toarray() > 0
        result[start:stop] = np.take_along_axis(dense, np.maximum(table[start:stop], 0), axis=1)
    return result & (table >= 0)
