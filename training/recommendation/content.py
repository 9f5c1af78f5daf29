"""Content similarity: products alike in attributes and words, bought or not."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from training.recommendation.estimator import ItemToItemModel
from training.recommendation.matrices import blocked_product, unit_rows
from training.recommendation.prepare import Prepared

_COMMON_SHARE = 0.05
_COMMON_COUNT = 200


class ContentSimilarity(ItemToItemModel):
    """Cosine of TF-IDF vectors over the products' tokens; columns times (count + 1)^`popularity`.

    Tokens are attribute values (`category=Lamps`), tags and words of the title; they weigh
    idf^`idf_power`. A token of more than a twentieth of the products says nothing and is left out.
    """

    def __init__(
        self, idf_power: float = 1.0, popularity: float = 0.1, neighbours: int = 200
    ) -> None:
        self.idf_power = idf_power
        self.popularity = popularity
        self.neighbours = neighbours

    def fit_prepared(self, prepared: Prepared) -> ContentSimilarity:
        vectors = token_vectors(prepared, idf_power=self.idf_power)
        counts = np.bincount(prepared.items, minlength=prepared.product_count)
        scale = ((counts + 1.0) ** self.popularity).astype(np.float32)
        right = sp.csr_matrix(vectors.T @ sp.diags_array(scale))
        self.matrix_ = unit_rows(blocked_product(vectors, right, self.neighbours))
        return self


def token_vectors(prepared: Prepared, *, idf_power: float) -> sp.csr_matrix:
    """Products × tokens, rows of unit length (or empty)."""
    tokens = prepared.tokens
    n = prepared.product_count
    shape = (n, max(1, tokens.count))
    columns = tokens.codes
    # Copies: dropping zeros below works in place.
    indptr, own = tokens.indptr.copy(), columns.copy()
    matrix = sp.csr_matrix((np.ones(len(columns), dtype=np.float32), own, indptr), shape=shape)
    frequency = np.bincount(columns, minlength=shape[1])
    common = frequency > max(_COMMON_COUNT, _COMMON_SHARE * n)
    inverse = np.where(common, 0.0, np.log((1.0 + n) / (1.0 + frequency)) ** idf_power)
    matrix.data *= inverse.astype(np.float32)[columns]
    matrix.eliminate_zeros()
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    matrix.data /= np.repeat(np.maximum(length, 1e-12), np.diff(matrix.indptr)).astype(np.float32)
    return matrix
