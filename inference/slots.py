"""Fills the slots of an answer from a ranking. Numpy only; runs in a Lambda."""

from __future__ import annotations

from dataclasses import dataclass

from inference.contracts import DEFAULT_LIMIT, ProductRequest
from inference.filters import Attributes
from inference.question import Question
from inference.ranking import Ranking


@dataclass(frozen=True)
class Pick:
    """A product in a slot. `propensity`: the probability that it took this slot, given the slots
    above."""

    item: int
    propensity: float = 1.0
    promoted: bool = False
    explored: bool = False
    fallback: bool = False


def fill(
    ranking: Ranking,
    request: ProductRequest,
    *,
    question: Question,
    attributes: Attributes,
    decision_id: str,
) -> list[Pick]:
    """The products of the slots, from the top."""
    count = request.limit or (len(request.products) or DEFAULT_LIMIT)
    items, _ = ranking.best(count, question.allowed)
    return [Pick(item) for item in items.tolist()]
