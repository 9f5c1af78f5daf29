"""Item-to-item matrices in pieces: blocked products, pruning, low-rank products, scaling.

Nothing here is ever items × items dense: products are made in blocks of rows of at most
`BLOCK_ENTRIES` entries and pruned at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp

BLOCK_ENTRIES = 20_000_000
_SCALE_ROWS = 1024


@dataclass(frozen=True)
class LowRank:
    """The matrix `left @ right` without its diagonal: `left` (n, r), `right` (r, n), float32."""

    left: np.ndarray
    right: np.ndarray

    @property
    def diagonal(self) -> np.ndarray:
        return np.einsum("ir,ri->i", self.left, self.right)

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows as a dense block, zero on the diagonal."""
        block = self.left[start:stop] @ self.right
        block[np.arange(len(block)), np.arange(start, start + len(block))] = 0.0
        return block


Part: TypeAlias = sp.csr_matrix | LowRank


def scores(weights: sp.csr_matrix, part: Part) -> np.ndarray:
    """Dense (customers, products): `weights @ part`."""
    if not isinstance(part, LowRank):
        return (weights @ part).toarray()
    dense = np.asarray(weights @ part.left) @ part.right
    own = weights.multiply(part.diagonal[None, :]).tocsr()
    rows = np.repeat(np.arange(own.shape[0]), np.diff(own.indptr))
    dense[rows, own.indices] -= own.data
    return dense


def row_blocks(rows: int, columns: int) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose dense block stays within `BLOCK_ENTRIES`."""
    step = max(1, min(rows, BLOCK_ENTRIES // max(1, columns)))
    for start in range(0, rows, step):
        yield start, min(rows, start + step)


def blocked_product(left: sp.csr_matrix, right: sp.csr_matrix, neighbours: int) -> sp.csr_matrix:
    """`left @ right` without its diagonal, rows pruned to their top entries, block by block."""
    parts = []
    for start, stop in product_blocks(left, right):
        part = (left[start:stop] @ right).tocsr()
        rows = np.repeat(np.arange(start, stop), np.diff(part.indptr))
        part.data[rows == part.indices] = 0.0
        parts.append(keep_top(part, neighbours))
    return sp.vstack(parts, format="csr")


def product_blocks(left: sp.csr_matrix, right: sp.csr_matrix) -> Iterator[tuple[int, int]]:
    """Ranges of `left`'s rows whose product makes at most `BLOCK_ENTRIES` entries, but one row."""
    work = np.concatenate(([0], np.cumsum(np.diff(right.indptr)[left.indices])))[left.indptr]
    most = np.minimum(np.diff(work), right.shape[1])
    ends = np.cumsum(most)
    start = 0
    while start < left.shape[0]:
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + BLOCK_ENTRIES, side="right")))
        yield start, stop
        start = stop


def keep_top(matrix: sp.csr_matrix, count: int) -> sp.csr_matrix:
    """The `count` largest positive entries of each row; ties go to the lower column."""
    matrix.sort_indices()
    positive = matrix.data > 0
    lengths = np.diff(matrix.indptr)
    rows = np.repeat(np.arange(matrix.shape[0]), lengths)[positive]
    columns, values = matrix.indices[positive], matrix.data[positive]
    lengths = np.bincount(rows, minlength=matrix.shape[0])
    crowded = (lengths > count)[rows]
    if crowded.any():
        kept = ~crowded
        kept[np.flatnonzero(crowded)[best_of_rows(rows[crowded], values[crowded], count)]] = True
        rows, columns, values = rows[kept], columns[kept], values[kept]
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=matrix.shape[0]))))
    return sp.csr_matrix((values, columns, indptr), shape=matrix.shape)


def best_of_rows(rows: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Positions of the `count` largest of each row; `rows` ascending, values positive, compared
    as float32; ties go to the earlier.

    Row and value are one integer, and integers are sorted, not positions: numpy does that by
    vector instructions, ten times faster, and the result does not depend on which.
    """
    bits = values.astype(np.float32).view(np.uint32).astype(np.int64)
    keys = (rows.astype(np.int64) << 32) | (0xFFFFFFFF - bits)
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    lengths = np.diff(np.append(starts, len(rows)))
    last = starts + np.minimum(count, lengths) - 1
    limit = np.repeat(np.sort(keys)[last], lengths)
    ties = np.flatnonzero(keys == limit)
    below = np.add.reduceat(keys < limit, starts) if len(starts) else starts
    tied_rows = np.repeat(np.arange(len(starts)), lengths)[ties]
    order = np.arange(len(ties)) - np.searchsorted(tied_rows, tied_rows)
    room = np.minimum(count, lengths) - below
    kept = keys < limit
    kept[ties[order < room[tied_rows]]] = True
    return np.flatnonzero(kept)


def top_of_dense(block: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the `count` largest positive entries of each row, columns ascending.

    A threshold from a sample of the columns leaves few candidates to sort, which is several times
    faster than partitioning whole rows.
    """
    width = block.shape[1]
    step = max(1, width // 4096)
    sample = block[:, ::step]
    place = min(sample.shape[1] - 1, int(np.ceil(1.3 * count / step)) + 8)
    threshold = np.maximum(-np.partition(-sample, place, axis=1)[:, place], 0.0)
    mask = block > threshold[:, None]
    short = mask.sum(axis=1) < count
    mask[short] = block[short] > 0
    rows, columns = np.nonzero(mask)
    crowded = (np.bincount(rows, minlength=len(block)) > count)[rows]
    kept = ~crowded
    values = block[rows[crowded], columns[crowded]]
    kept[np.flatnonzero(crowded)[best_of_rows(rows[crowded], values, count)]] = True
    return rows[kept], columns[kept]


def unit_rows(part: Part) -> Part:
    """Scaled so that the mean of the rows' maxima is 1: parts become comparable."""
    if isinstance(part, LowRank):
        step = max(1, len(part.left) // _SCALE_ROWS)
        block = part.left[::step] @ part.right
        block[np.arange(len(block)), np.arange(0, len(part.left), step)] = 0.0
        maxima = block.max(axis=1)
    else:
        maxima = part.max(axis=1).toarray().ravel()
    scale = maxima[maxima > 0].mean() if (maxima > 0).any() else 1.0
    if isinstance(part, LowRank):
        return LowRank(part.left / np.float32(scale), part.right)
    return (part / scale).tocsr().astype(np.float32)
