"""All parts compiled into one sparse item-to-item matrix with two values an entry.

The values are those of the recent and of the lasting memory; they share one pattern, the best
`neighbours` of each product by their sum. They are carried as the real and the imaginary part of
one complex matrix, so that sparse sums and pruning keep them together.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from training.recommendation.matrices import LowRank, best_of_rows, row_blocks, top_of_dense
from training.recommendation.parameters import PARTS, Parameters
from training.recommendation.parts import Parts


def compile_matrix(parts: Parts, parameters: Parameters, neighbours: int) -> sp.csr_matrix:
    """Products × products, complex64: recent + i · lasting, at most `neighbours` a row."""
    n = parts.prepared.product_count
    sparse = sp.csr_matrix((n, n), dtype=np.complex64)
    low: tuple[np.complex64, LowRank] | None = None  # the spectral part, where it is used
    for name in PARTS:
        weight = np.complex64(
            complex(parameters.recent.get(name, 0.0), parameters.lasting.get(name, 0.0))
        )
        if weight == 0:
            continue
        part = parts.part(name, parameters)
        if isinstance(part, LowRank):
            low = weight, part
        else:
            sparse = sparse + part * weight
    sparse = sp.csr_matrix(sparse)
    blocks = [_block(sparse, low, start, stop, neighbours) for start, stop in row_blocks(n, n)]
    return sp.vstack(blocks, format="csr")


def _block(
    sparse: sp.csr_matrix,
    low: tuple[np.complex64, LowRank] | None,
    start: int,
    stop: int,
    neighbours: int,
) -> sp.csr_matrix:
    block = sparse[start:stop]
    if low is None:
        return keep_best(block, neighbours)
    weight, part = low
    dense = part.rows(start, stop)
    recent = np.float32(weight.real) * dense + block.real.toarray()
    lasting = np.float32(weight.imag) * dense + block.imag.toarray()
    rows, columns = top_of_dense(recent + lasting, neighbours)
    values = recent[rows, columns] + 1j * lasting[rows, columns]
    return sp.csr_matrix((values.astype(np.complex64), (rows, columns)), shape=block.shape)


def keep_best(block: sp.csr_matrix, neighbours: int) -> sp.csr_matrix:
    """The best `neighbours` of each row by the sum of both memories."""
    block.sort_indices()
    rows = np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
    total = block.data.real + block.data.imag
    positive = np.flatnonzero(total > 0)
    kept = positive[best_of_rows(rows[positive], total[positive], neighbours)]
    entries = block.data[kept], (rows[kept], block.indices[kept])
    return sp.csr_matrix(entries, shape=block.shape)
