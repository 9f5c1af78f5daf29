"""Products without history: they score as the products most like them do.

Nobody has taken a newcomer, so that it has no column in the item-to-item matrix but what its
content gives it, which is too little to stand beside products with history, and no factors. It is
given the mean of its stand-ins' columns and of their factors, times a scale that is chosen on
validation (`newcomer_tuning`): then what leads to them leads to it too. A sum over the history all
the same, so that serving and its reasons stay as they are.

Attributes and images as a bridge to collaborative scores: Gantner et al. 2010, "Learning
attribute-to-feature mappings for cold-start recommendations" (there the k nearest too).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from training.recommendation.compilation import keep_best
from training.recommendation.content import token_vectors
from training.recommendation.matrices import BLOCK_ENTRIES, best_of_rows, row_blocks
from training.recommendation.parameters import Parameters
from training.recommendation.prepare import Prepared

STAND_INS = 10
HIDDEN_SHARE = 0.05
_LEAST_HIDDEN = 10


@dataclass(frozen=True)
class Newcomers:
    """`codes` (m,) of the products without history; `stand_ins` float32 (m, products): whom each
    is like, rows that sum to 1, or are empty where a newcomer is like nobody."""

    codes: np.ndarray
    stand_ins: sp.csr_matrix

    def of(self, values: np.ndarray) -> np.ndarray:
        """The means of the stand-ins: (…, products) → float32 (…, m)."""
        return np.asarray((self.stand_ins @ values.T).T, dtype=np.float32)


def can_tell(prepared: Prepared) -> bool:
    """Whether anything is known of the products by which a newcomer could be like another."""
    return len(prepared.tokens.codes) > 0 or prepared.images is not None


def find_newcomers(prepared: Prepared, *, idf_power: float, images: float) -> Newcomers:
    """The products without interactions and their stand-ins among the others."""
    n = prepared.product_count
    counts = np.bincount(prepared.items, minlength=n)
    codes, known = np.flatnonzero(counts == 0), counts > 0
    vectors = token_vectors(prepared, idf_power=idf_power)
    blocks = [sp.csr_matrix((0, n), dtype=np.float32)]
    for start, stop in row_blocks(len(codes), n):
        chosen = codes[start:stop]
        likeness = (vectors[chosen] @ vectors.T).toarray()
        if prepared.images is not None:
            looks = np.maximum(prepared.images[chosen] @ prepared.images.T, 0.0)
            likeness = (1.0 - images) * likeness + images * looks
        blocks.append(_nearest(np.where(known, likeness, 0.0)))
    return Newcomers(codes, sp.vstack(blocks, format="csr"))


def _nearest(likeness: np.ndarray) -> sp.csr_matrix:
    """The nearest of each row, weighed by the square of how near; rows sum to 1."""
    rows, columns = np.nonzero(likeness > 0)
    values = likeness[rows, columns].astype(np.float32)
    kept = best_of_rows(rows, values, STAND_INS)
    weights = values[kept] ** 2
    totals = np.bincount(rows[kept], weights=weights, minlength=len(likeness))
    weights /= totals[rows[kept]].astype(np.float32)
    return sp.csr_matrix((weights, (rows[kept], columns[kept])), shape=likeness.shape)


def add_columns(
    matrix: sp.csr_matrix, newcomers: Newcomers, *, scale: float, neighbours: int
) -> sp.csr_matrix:
    """The compiled matrix (complex64) with the newcomers' columns, pruned again to `neighbours`."""
    right = _placed(newcomers, matrix.shape[1]) * np.float32(scale)
    step = max(1, BLOCK_ENTRIES // max(1, len(newcomers.codes) + neighbours))
    blocks = [
        keep_best(sp.csr_matrix(block + block @ right), neighbours)
        for block in (matrix[start : start + step] for start in range(0, matrix.shape[0], step))
    ]
    return sp.vstack(blocks, format="csr")


def _placed(newcomers: Newcomers, n: int) -> sp.csr_matrix:
    """(products, products): stand-ins down, newcomers across."""
    found = newcomers.stand_ins.tocoo()
    return sp.csr_matrix((found.data, (found.col, newcomers.codes[found.row])), shape=(n, n))


def add_factors(item_factors: np.ndarray, newcomers: Newcomers, *, scale: float) -> np.ndarray:
    """Item factors (products, d) with those of the newcomers."""
    result = item_factors.copy()
    result[newcomers.codes] = np.float32(scale) * (newcomers.stand_ins @ item_factors)
    return result


def newcomers_for(prepared: Prepared, parameters: Parameters) -> Newcomers | None:
    """The newcomers of a model with these parameters, None where they are left as they are."""
    chosen = parameters.newcomers
    if not chosen.scale or not can_tell(prepared):
        return None
    return find_newcomers(prepared, idf_power=parameters.content.idf_power, images=chosen.images)


def draw_some(prepared: Prepared, *, seed: int) -> np.ndarray:
    """Codes of a twentieth of the products with history, drawn with the seed."""
    known = np.unique(prepared.items)
    drawn = np.random.default_rng(seed).choice(known, size=_hidden_count(known), replace=False)
    return np.sort(drawn)


def _hidden_count(known: np.ndarray) -> int:
    return min(max(int(HIDDEN_SHARE * len(known)), _LEAST_HIDDEN), len(known) // 4)


def newest(prepared: Prepared, *, seed: int) -> np.ndarray:
    """Codes of the newest twentieth of the products; drawn with the seed without times."""
    if not prepared.meta["timed"]:
        return draw_some(prepared, seed=seed)
    known = np.unique(prepared.items)
    first = np.full(prepared.product_count, np.iinfo(np.int64).max)
    np.minimum.at(first, prepared.items, prepared.times)
    order = np.argsort(first[known], kind="stable")
    return np.sort(known[order[len(known) - _hidden_count(known) :]])


def without(prepared: Prepared, hidden: np.ndarray, *, split: int) -> Prepared:
    """Without the interactions with `hidden` products before the window `split`."""
    gone = np.isin(prepared.items, hidden) & (prepared.split < split)
    return prepared.take(~gone)
