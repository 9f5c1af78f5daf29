"""Fills the slots of an answer from a ranking: promotions, diversity, exploration, a minimum score.

Slots are filled from the top, each by a rule that knows the slots above:

1. a promotion that is behind its share takes the slot with its best product;
2. else, with probability `explore.share`, a product drawn evenly from the new ones;
3. else the best product left (by the trade-off with likeness, if there is one);
4. where none reaches the minimum score, the best by trend, marked as a fallback.

No rule takes a product that is excluded, already shown or over its attribute's quota. The draws
follow from the decision id, so that an auditor can repeat every one, and the propensity of each
product at its slot, given those above, is exact. Numpy only; runs in a Lambda.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from msgspec.structs import replace as changed

from inference.contracts import (
    DEFAULT_LIMIT,
    NEWER_THAN_DAYS,
    Diversity,
    Exploration,
    ProductRequest,
)
from inference.diversity import TradeOff, groups_of
from inference.errors import BadRequestError
from inference.filters import Attributes, Test, all_of
from inference.history import SECONDS_PER_DAY
from inference.question import Question
from inference.ranking import Ranking
from inference.scores import Scores, Trend

_NO_ROWS = np.empty((0, 1), dtype=np.int64)


class Pick(msgspec.Struct, frozen=True, gc=False):
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
    trend: Trend,
    decision_id: str,
) -> list[Pick]:
    """The products of the slots, from the top.

    `trend` is the prior alone, for what falls back. Raises `BadRequestError` for an attribute that
    the model does not have.
    """
    count = request.limit or (len(request.products) or DEFAULT_LIMIT)
    special = (request.promote, request.diversity, request.explore, request.minimum_score)
    if all(part is None for part in special):
        items, _ = ranking.best(count, question.allowed)
        picks = [Pick(item) for item in items.tolist()]
    else:
        slots = _Slots.of(
            ranking, request, count, question=question, attributes=attributes, trend=trend
        )
        picks = slots.fill(count, decision_id)
    if request.decision != "next-best-product" or ranking.taste is not None:
        return picks
    personal = ranking.scores.personal.take([pick.item for pick in picks])
    if np.count_nonzero(personal) == len(picks):
        return picks
    impersonal = personal == 0
    return [_marked(*pair) for pair in zip(picks, impersonal.tolist(), strict=True)]


def _marked(pick: Pick, impersonal: bool) -> Pick:
    if not impersonal or pick.promoted or pick.explored:
        return pick
    return changed(pick, fallback=True)


def draw(decision_id: str, slot: int) -> float:
    """Uniform in [0, 1): what decides about exploring at this slot of this decision."""
    digest = hashlib.sha256(f"{decision_id}:{slot}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / (1 << 53)


@dataclass
class _Supply:
    """The allowed products of a ranking in order, fetched as far as they are needed."""

    ranking: Ranking
    allowed: Test | None
    minimum: float = -np.inf
    items: list[int] = field(default_factory=list)
    exhausted: bool = False

    def first(self, fits: Callable[[int], bool]) -> int | None:
        """The best product that fits, None if there is none."""
        at = 0
        while True:
            while at < len(self.items):
                if fits(self.items[at]):
                    return self.items[at]
                at += 1
            if self.exhausted:
                return None
            self.fetch(max(50, 4 * len(self.items)))

    def fetch(self, count: int) -> np.ndarray:
        """Make the best `count` known; their scores, those below the minimum left out."""
        items, scores = self.ranking.best(count, self.allowed)
        enough = int(np.count_nonzero(scores >= self.minimum))
        self.items = items[:enough].tolist()
        self.exhausted = len(self.items) < count
        return scores[:enough]


@dataclass
class _Slots:
    """The state of one answer being filled."""

    main: _Supply
    trade_off: TradeOff | None
    promoted: _Supply | None
    promoted_test: Test | None
    promoted_share: float
    fallback: _Supply | None
    new: list[int]
    explore_share: float
    groups: Callable[[int], tuple[float, ...]]
    quota: int | None
    chosen: dict[int, Pick] = field(default_factory=dict)
    filled: Counter[float] = field(default_factory=Counter)
    promoted_count: int = 0

    @classmethod
    def of(
        cls,
        ranking: Ranking,
        request: ProductRequest,
        count: int,
        *,
        question: Question,
        attributes: Attributes,
        trend: Trend,
    ) -> _Slots:
        everyone = changed(ranking, scores=changed(ranking.scores, fills=True))
        promotion, diversity = request.promote, request.diversity
        promoted_test = None
        if promotion is not None:
            promoted_test = all_of(attributes.tests(promotion.where, where="$.promote.where"))
        minimum = -np.inf if request.minimum_score is None else request.minimum_score
        main = _Supply(ranking, question.allowed, minimum)
        falls_back = request.minimum_score is not None and ranking.scores.fills
        return cls(
            main=main,
            trade_off=_trade_off(diversity, main, attributes, count),
            promoted=_narrowed(everyone, question, promoted_test),
            promoted_test=promoted_test,
            promoted_share=promotion.share if promotion else 0.0,
            fallback=_Supply(_by_trend(ranking, trend), question.allowed) if falls_back else None,
            new=_new_products(request.explore, everyone, question, attributes),
            explore_share=request.explore.share if request.explore else 0.0,
            groups=_groups(diversity, attributes),
            quota=diversity.at_most if diversity else None,
        )

    def fill(self, count: int, decision_id: str) -> list[Pick]:
        for slot in range(count):
            pick = self._promotion(slot) or self._drawn(draw(decision_id, slot))
            if pick is None:
                break
            self._take(pick)
        return list(self.chosen.values())

    def _fits(self, item: int) -> bool:
        if item in self.chosen:
            return False
        if self.quota is None:
            return True
        return all(self.filled[group] < self.quota for group in self.groups(item))

    def _promotion(self, slot: int) -> Pick | None:
        """The promotion's best, where the slots so far hold less than its share."""
        if self.promoted is None or self.promoted_count >= int(
            self.promoted_share * (slot + 1) + 1e-9
        ):
            return None
        item = self.promoted.first(self._fits)
        return None if item is None else Pick(item, promoted=True)

    def _drawn(self, uniform: float) -> Pick | None:
        """A new product with probability `explore_share`, else the best; None without any."""
        best = self._best()
        pool = [item for item in self.new if self._fits(item)]
        share = self.explore_share if pool else 0.0
        if best is None and share:
            share = 1.0
        if uniform < share:
            pick = Pick(pool[int(uniform / share * len(pool))], explored=True)
        elif best is None:
            return None
        else:
            pick = best
        kept = 1.0 - share if best is not None and pick.item == best.item else 0.0
        drawn = share / len(pool) if pick.item in pool else 0.0
        return changed(pick, propensity=kept + drawn)

    def _best(self) -> Pick | None:
        found = self.trade_off.first(self._fits) if self.trade_off else None
        if found is None:
            found = self.main.first(self._fits)
        if found is not None:
            return Pick(found)
        found = self.fallback.first(self._fits) if self.fallback else None
        return None if found is None else Pick(found, fallback=True)

    def _take(self, pick: Pick) -> None:
        self.chosen[pick.item] = pick
        self.filled.update(self.groups(pick.item))
        if self.promoted_test is not None:
            self.promoted_count += int(self.promoted_test(np.array([pick.item]))[0])
        if self.trade_off is not None:
            self.trade_off.take(pick.item)


def _narrowed(ranking: Ranking, question: Question, test: Test | None) -> _Supply | None:
    if test is None:
        return None
    return _Supply(ranking, _both(question.allowed, [test]))


def _both(allowed: Test | None, tests: list[Test]) -> Test:
    return all_of(tests if allowed is None else [allowed, *tests])


def _by_trend(ranking: Ranking, trend: Trend) -> Ranking:
    """The same products in the order of the trend alone."""
    scores = ranking.scores
    excluded = np.isneginf(scores.personal)
    plain = Scores(
        targets=_NO_ROWS,
        values=_NO_ROWS.astype(np.float64),
        strengths=np.empty(0),
        personal=np.where(excluded, -np.inf, 0.0),
        repeats=np.empty(0, dtype=np.int64),
        trend=trend,
        only=scores.only,
    )
    return changed(ranking, scores=plain, taste=None)


def _trade_off(
    diversity: Diversity | None, main: _Supply, attributes: Attributes, count: int
) -> TradeOff | None:
    if diversity is None or diversity.weight is None:
        return None
    scores = main.fetch(max(50, 5 * count))
    items = np.array(main.items, dtype=np.int64)
    if diversity.attribute is not None:
        attributes.require(diversity.attribute, path="$.diversity.attribute")
        return TradeOff.by_attribute(
            items, scores, attributes, diversity.attribute, weight=diversity.weight
        )
    return TradeOff.by_neighbours(items, scores, main.ranking.matrix, weight=diversity.weight)


def _groups(
    diversity: Diversity | None, attributes: Attributes
) -> Callable[[int], tuple[float, ...]]:
    """The values of the attribute whose products are counted; a missing value counts nowhere."""
    if diversity is None or diversity.at_most is None or diversity.attribute is None:
        return lambda item: ()
    attributes.require(diversity.attribute, path="$.diversity.attribute")
    return groups_of(attributes, diversity.attribute)


def _new_products(
    explore: Exploration | None, ranking: Ranking, question: Question, attributes: Attributes
) -> list[int]:
    """The best allowed new products, the pool of the draws."""
    if explore is None:
        return []
    if explore.where:
        tests = attributes.tests(explore.where, where="$.explore.where")
    elif "available_from" in attributes:
        tests = [_newer_than(explore, question, attributes)]
    else:
        raise BadRequestError(
            "this model's products have no available_from; say which are new, "
            'for example {"category": "New in"}',
            path="$.explore.where",
        )
    items, _ = ranking.best(explore.pool, _both(question.allowed, tests))
    return list(items.tolist())


def _newer_than(explore: Exploration, question: Question, attributes: Attributes) -> Test:
    days = NEWER_THAN_DAYS if explore.newer_than_days is None else explore.newer_than_days
    start = question.clock - days * SECONDS_PER_DAY
    column = attributes.array("available_from")
    return lambda items: column.take(items) >= start
