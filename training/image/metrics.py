"""Figures of a classifier and of embeddings. Pure numpy; labels are codes, -1 is none."""

from __future__ import annotations

import numpy as np


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    return float((predicted == labels).mean())


def macro_f1(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur in `labels` of the F1 score."""
    scores = []
    for code in np.unique(labels):
        hits = float(((predicted == code) & (labels == code)).sum())
        scores.append(2 * hits / float((predicted == code).sum() + (labels == code).sum()))
    return float(np.mean(scores))


def retrieval(
    embeddings: np.ndarray, labels: np.ndarray, *, k: int = 10, queries: int | None = None
) -> dict[str, float]:
    """`map@all` and `precision@k` by cosine, the same label being relevant.

    `embeddings` (n, d) of length one; each of `queries` (evenly taken; None: all) looks among all
    others. Average precision is over all relevant ones (Manning et al., "Information Retrieval").
    """
    step = 1 if queries is None else max(1, len(labels) // queries)
    precisions, heads = [], []
    for row in range(0, len(labels), step):
        scores = embeddings @ embeddings[row]
        scores[row] = -np.inf
        order = np.argsort(-scores, kind="stable")[:-1]
        relevant = labels[order] == labels[row]
        if relevant.any():
            ranks = np.flatnonzero(relevant) + 1
            precisions.append(float((np.arange(1, len(ranks) + 1) / ranks).mean()))
            heads.append(float(relevant[:k].mean()))
    return {"map@all": float(np.mean(precisions)), f"precision@{k}": float(np.mean(heads))}


def copy_recall(embeddings: np.ndarray, copies: np.ndarray) -> float:
    """Share of the copies (n, d) whose nearest embedding is their own original's."""
    nearest = np.concatenate(
        [(copies[i : i + 512] @ embeddings.T).argmax(1) for i in range(0, len(copies), 512)]
    )
    return accuracy(nearest, np.arange(len(copies)))
