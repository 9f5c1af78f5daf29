"""Ranking metrics over whole lists: recall@k, NDCG@k, HR@k, MRR@k, coverage@k.

Definitions: full ranking, binary relevance; recall@k = hits / relevant; NDCG@k with the ideal list
of min(k, relevant) hits (Järvelin and Kekäläinen 2002); MRR@k = 1 / rank of the first hit, else 0.
"""

from __future__ import annotations

from collections.abc import Sequence, Set

import numpy as np


def evaluate_lists(
    lists: Sequence[Sequence[int]],
    targets: Sequence[Set[int]],
    *,
    k: int,
    product_count: int,
) -> dict[str, float]:
    """Means over customers; coverage is the share of products in anybody's top k."""
    if not lists:
        return {f"{name}@{k}": 0.0 for name in ("recall", "ndcg", "hr", "mrr", "coverage")}
    discounts = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discounts)
    rows = [
        _of_one([item in wanted for item in found[:k]], len(wanted), discounts, ideal)
        for found, wanted in zip(lists, targets, strict=True)
    ]
    recall, ndcg, hit, reciprocal = np.mean(rows, axis=0)
    shown = {item for found in lists for item in found[:k]}
    return {
        f"recall@{k}": float(recall),
        f"ndcg@{k}": float(ndcg),
        f"hr@{k}": float(hit),
        f"mrr@{k}": float(reciprocal),
        f"coverage@{k}": len(shown) / product_count,
    }


def _of_one(
    hits: list[bool], relevant: int, discounts: np.ndarray, ideal: np.ndarray
) -> tuple[float, float, float, float]:
    gained = float(discounts[: len(hits)][np.array(hits, dtype=bool)].sum()) if hits else 0.0
    best = ideal[min(len(ideal), relevant) - 1]
    first = hits.index(True) + 1 if True in hits else 0
    return sum(hits) / relevant, gained / best, float(first > 0), 1.0 / first if first else 0.0
