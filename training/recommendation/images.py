"""Image similarity: products that look alike, bought or not."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from training.errors import DataQualityError
from training.recommendation.estimator import ItemToItemModel
from training.recommendation.matrices import LowRank, row_blocks, top_of_dense, unit_rows
from training.recommendation.prepare import Prepared


class ImageSimilarity(ItemToItemModel):
    """Cosine of the products' image embeddings; columns times (count + 1)^`popularity`.

    Made in blocks of rows and pruned at once. `DataQualityError` for data without embeddings.
    """

    def __init__(self, popularity: float = 0.1, neighbours: int = 200) -> None:
        self.popularity = popularity
        self.neighbours = neighbours

    def fit_prepared(self, prepared: Prepared) -> ImageSimilarity:
        if prepared.images is None:
            raise DataQualityError(
                "these interactions come without image embeddings; "
                "give Prepared(images=…) of shape (products, d)"
            )
        n = prepared.product_count
        counts = np.bincount(prepared.items, minlength=n)
        scale = ((counts + 1.0) ** self.popularity).astype(np.float32)
        alike = LowRank(prepared.images, prepared.images.T * scale)
        blocks = []
        for start, stop in row_blocks(n, n):
            dense = alike.rows(start, stop)
            rows, columns = top_of_dense(dense, self.neighbours)
            entries = dense[rows, columns], (rows, columns)
            blocks.append(sp.csr_matrix(entries, shape=dense.shape))
        self.matrix_ = unit_rows(sp.vstack(blocks, format="csr"))
        return self
