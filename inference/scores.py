"""The scores of one decision, and its best products, exactly. Numpy only; runs in a Lambda.

A history reaches at most (sources × width) products; everything else scores its trend alone. So
the best are among what was reached and the head of the trend, and no catalogue is ever sorted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Allowed = Callable[[np.ndarray], np.ndarray]
_STRONG_ROWS = 4
_NO_ITEMS = np.empty(0, dtype=np.int64)


@dataclass(frozen=True)
class Trend:
    """The prior: values (products,), codes by falling value, and its weight in the score."""

    values: np.ndarray
    order: np.ndarray
    weight: float

    @property
    def peak(self) -> float:
        """The most that the prior can give a product."""
        return self.weight * float(self.values[self.order[0]]) if len(self.order) else 0.0


@dataclass(frozen=True)
class Scores:
    """Scores of every product for one request.

    `targets` and `values` (sources, width) are the weighted neighbours and `strengths` (sources,)
    the weights; `personal` (products,) is the sum of the neighbours and of the repeat part, whose
    products are `repeats`. A product that must not be shown has `personal` -inf. `only` are the
    distinct products that may be shown, None for all; `fills` tells whether products that were not
    reached may be among the best.
    """

    targets: np.ndarray
    values: np.ndarray
    strengths: np.ndarray
    personal: np.ndarray
    repeats: np.ndarray
    trend: Trend
    only: np.ndarray | None = None
    fills: bool = True

    def of(self, items: np.ndarray) -> np.ndarray:
        """float64 (items,); -inf for what must not be shown."""
        scores = self.personal.take(items)
        if self.trend.weight:
            scores += self.trend.weight * self.trend.values.take(items)
        return scores

    def best(self, count: int, allowed: Allowed) -> tuple[np.ndarray, np.ndarray]:
        """Codes and scores of the `count` best allowed products, best first, exactly; ties go to
        the lower code. Fewer only where no more are allowed."""
        if self.only is not None:
            items, scores = _ordered(*self._shown(self.only, allowed))
            return items[:count], scores[:count]
        reached = self.of(self.targets.ravel())
        floor = self._floor(reached, count)
        if floor > -np.inf:
            strong = self.targets.ravel()[np.flatnonzero(reached >= floor)]
            items, scores = _ordered(*self._candidates(strong, floor, count, allowed))
            if np.searchsorted(-scores, -floor, side="right") >= count:
                return items[:count], scores[:count]
        items, scores = self._candidates(np.flatnonzero(self.personal), -np.inf, count, allowed)
        # Each product stands here three times at most: reached, repeated, unreached.
        items, scores = _ordered(*_head(items, scores, 3 * count))
        return items[:count], scores[:count]

    def _floor(self, reached: np.ndarray, count: int) -> float:
        """A score that a few times `count` products reach, or -inf: a guess, which `best` checks.

        One source's neighbours are distinct, so its own ranking tells; the strongest few do."""
        width, wanted = self.targets.shape[1], 4 * count
        if wanted > width or len(self.strengths) == 0:
            return -np.inf
        rows = np.argsort(self.strengths)[-_STRONG_ROWS:]
        block = reached.reshape(self.targets.shape)[rows]
        return float(np.partition(block, width - wanted, axis=1)[:, width - wanted].max())

    def _candidates(
        self, items: np.ndarray, floor: float, count: int, allowed: Allowed
    ) -> tuple[np.ndarray, np.ndarray]:
        """The allowed ones of `items` and of whatever else may score `floor` or more."""
        unreached = _NO_ITEMS
        if self.fills and floor <= self.trend.peak:
            unreached = self._unreached(count, allowed)
        return self._shown(np.concatenate((items, self.repeats, unreached)), allowed)

    def _shown(self, items: np.ndarray, allowed: Allowed) -> tuple[np.ndarray, np.ndarray]:
        scores = self.of(items)
        keep = np.flatnonzero(allowed(items) & (scores > -np.inf))
        return items[keep], scores[keep]

    def _unreached(self, count: int, allowed: Allowed) -> np.ndarray:
        """The `count` best allowed products by the prior alone."""
        found: list[np.ndarray] = []
        missing, start, block = count, 0, 4 * count
        while missing > 0 and start < len(self.trend.order):
            items = self.trend.order[start : start + block].astype(np.int64)
            items = items[self.personal.take(items) == 0]
            items = items[allowed(items)][:missing]
            found.append(items)
            missing, start, block = missing - len(items), start + block, 4 * block
        return np.concatenate(found) if found else _NO_ITEMS


def _head(items: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `count` entries and all that tie with the last of them, in no order."""
    if len(scores) <= 2 * count:
        return items, scores
    top = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    return items[top], scores[top]


def _ordered(items: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best first, ties by code, each product once."""
    order = np.lexsort((items, -scores))
    items, scores = items[order], scores[order]
    first = np.ones(len(items), dtype=bool)
    first[1:] = items[1:] != items[:-1]
    return items[first], scores[first]
