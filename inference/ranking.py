"""A decision's order of products: the matrix's scores, re-ranked by factors where there are any.

Numpy only; runs in a Lambda; called by `inference.recommender`.
"""

from __future__ import annotations

import numpy as np
from msgspec import Struct
from msgspec.structs import replace as changed

from inference.factors import Factors, FoldIn, rerank_scale
from inference.neighbours import Neighbours
from inference.parameters import ServingParameters
from inference.scores import Allowed, Scores, ordered


class Taste(Struct, frozen=True):
    """A customer's factors, and what brings their scores to the scale of the matrix's.

    `best` are the best candidates of all products, in order, with what both add up to; None where
    the request excludes some that it would hold.
    """

    factors: Factors
    fold_in: FoldIn
    scale: float
    candidates: int
    best: tuple[np.ndarray, np.ndarray] | None

    def of(self, items: np.ndarray) -> np.ndarray:
        """What the factors add to the scores of `items`: float64 (items,)."""
        return self.scale * self.fold_in.scores(self.factors.rows(items))

    def contributions(self, items: np.ndarray) -> np.ndarray:
        """The same by history product: float64 (items, history)."""
        return self.scale * self.fold_in.contributions(self.factors.rows(items))


def find_taste(
    factors: Factors | None,
    scores: Scores,
    history: np.ndarray,
    *,
    parameters: ServingParameters,
    banned: list[int],
) -> Taste | None:
    """The taste of a history of distinct products, None where factors say nothing about it.

    `scores` are those before what the request excludes, `banned`, is taken out: the scale comes
    from the customer's best candidates whatever a request's exclusions, without what the model
    leaves out by itself.
    """
    if factors is None or parameters.factor_weight == 0 or len(history) == 0:
        return None
    left_out = history if parameters.exclude_seen else history[:0]
    personal = scores.personal.copy()
    personal[left_out] = -np.inf
    count = parameters.rerank_candidates
    items, found = changed(scores, personal=personal, only=None).best(count, None)
    fold_in = factors.fold_in(history, alpha=parameters.factor_alpha)
    told = fold_in.scores(factors.rows(items))
    scale = parameters.factor_weight * rerank_scale(found, told)
    if scale == 0.0:
        return None
    same = set(banned) == set(left_out.tolist())
    best = ordered(items, found + scale * told) if same else None
    return Taste(factors, fold_in, scale, count, best)


class Ranking(Struct, frozen=True):
    """Products in order. With a taste, the best candidates by the matrix are put in its order."""

    scores: Scores
    taste: Taste | None
    matrix: Neighbours

    def best(self, count: int, allowed: Allowed | None) -> tuple[np.ndarray, np.ndarray]:
        """Codes and scores of the `count` best allowed products, best first."""
        if self.taste is None:
            return self.scores.best(count, allowed)
        best = self.taste.best
        if best and allowed is None and self.scores.only is None and count <= len(best[0]):
            items, scores = best
        else:
            items, found = self.scores.best(max(count, self.taste.candidates), allowed)
            items, scores = ordered(items, found + self.taste.of(items))
        return items[:count], scores[:count]
