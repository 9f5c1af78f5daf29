"""The scores of one decision, and its best products, exactly. Numpy only; runs in a Lambda.

A history reaches at most (sources × width) products; everything else scores its trend alone. So
the best are among what was reached and the head of the trend, and no catalogue is ever sorted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import msgspec
import numpy as np

Allowed = Callable[[np.ndarray], np.ndarray]
Entries = tuple[np.ndarray, np.ndarray, np.ndarray]
_STRONG_ROWS = 2
_ROUNDING = 1e-12
_LOWEST = -np.finfo(np.float64).max
_SPARE = 4
_SAMPLED = 16
_NO_ITEMS = np.empty(0, dtype=np.int64)


class Trend(msgspec.Struct, frozen=True, dict=True):
    """The prior: its part of each product's score (products,), and codes by falling part. None
    where it has no part in the scores."""

    values: np.ndarray | None
    order: np.ndarray

    @cached_property
    def peak(self) -> float:
        """The most that the prior can give a product."""
        return float(self.values[self.order[0]]) if self.values is not None else 0.0

    def of(self, items: np.ndarray) -> np.ndarray | float:
        """float64 (items,), or 0."""
        return 0.0 if self.values is None else self.values.take(items)


class Scores(msgspec.Struct, frozen=True, dict=True):
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
        if self.trend.values is not None:
            scores += self.trend.values.take(items)
        return scores

    @cached_property
    def reached(self) -> np.ndarray:
        """What is personal about the targets, flat: (sources × width,)."""
        return self.personal.take(self.targets.ravel())

    @cached_property
    def _entries(self) -> dict[float, Entries]:
        """What `entries` found before, by floor."""
        return {}

    def entries(self, floor: float) -> Entries:
        """Flat positions of the targets that score `floor` or more, who is there, its score."""
        if floor not in self._entries:
            wider = [known for known in self._entries if known <= floor]
            if wider:
                self._entries[floor] = _narrowed(self._entries[max(wider)], floor)
            else:
                self._entries[floor] = self._find_entries(floor)
        return self._entries[floor]

    def _find_entries(self, floor: float) -> Entries:
        """The prior gives `peak` at most, so most targets are left out before it is looked up."""
        slack = _ROUNDING * (abs(floor) + abs(self.trend.peak)) if floor > -np.inf else 0.0
        (at,) = (self.reached >= floor - self.trend.peak - slack).nonzero()
        items, scores = self.targets.ravel().take(at), self.reached.take(at)
        if self.trend.values is None:
            return at, items, scores
        scores += self.trend.values.take(items)
        return _narrowed((at, items, scores), floor)

    def best(self, count: int, allowed: Allowed | None) -> tuple[np.ndarray, np.ndarray]:
        """Codes and scores of the `count` best allowed products, best first, exactly; ties go to
        the lower code. Fewer only where no more are allowed."""
        if self.only is not None:
            found = _shown(self.only, self.of(self.only), allowed, -np.inf)
            items, scores = ordered(*found)
            return items[:count], scores[:count]
        floor = self._floor(count if allowed is None else _SPARE * count)
        if floor > -np.inf:
            if allowed is None:
                floor = _nth_score(self.entries(floor)[2], count)
            _, items, scores = self.entries(floor)
            items, scores = ordered(*self._candidates(items, scores, floor, count, allowed))
            if len(items) >= count:
                return items[:count], scores[:count]
        sampled = self._above_sample(count) if allowed is None else None
        items, scores = _head(*(sampled or self._personal(allowed)), count)
        floor = float(scores.min()) if len(items) >= count else -np.inf
        items, scores = self._candidates(items, scores, floor, count, allowed)
        # Each product stands here three times at most: reached, repeated, unreached.
        items, scores = ordered(*_head(items, scores, 3 * count))
        return items[:count], scores[:count]

    def _personal(self, allowed: Allowed | None) -> tuple[np.ndarray, np.ndarray]:
        """The allowed products that something personal speaks for, by code, and their scores."""
        items = np.flatnonzero(self.personal != 0)
        return _shown(items, self.of(items), allowed, -np.inf)

    def _above_sample(self, count: int) -> tuple[np.ndarray, np.ndarray] | None:
        """Distinct products that hold the `count` best, and their scores: all above a score that
        every sixteenth product suggests. None where too few turn out to be above it."""
        place = 3 * count // (2 * _SAMPLED) + 1
        sample = self.personal[::_SAMPLED]
        sample = sample[sample > 0]  # a partition of many zeros takes a hundred times as long
        if place >= len(sample):
            return None
        sample.partition(len(sample) - place)
        floor = float(sample[len(sample) - place])
        if floor <= self.trend.peak:
            return None
        slack = _ROUNDING * (floor + self.trend.peak)
        items = np.flatnonzero(self.personal >= floor - self.trend.peak - slack)
        items, scores = _shown(items, self.of(items), None, floor)
        return (items, scores) if len(items) >= count else None

    def _floor(self, count: int) -> float:
        """A score that at least `count` products have, or -inf.

        One source's neighbours are distinct, so its own ranking tells; the strongest few do."""
        width = self.targets.shape[1]
        if count > width or len(self.strengths) == 0:
            return -np.inf
        rows = self.strengths.argsort()[-_STRONG_ROWS:]
        block = self.of(self.targets.take(rows, axis=0))
        block.sort(axis=1)
        return max(block[:, width - count].tolist())

    def entries_of(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where `items` stand among the targets: flat positions, and which item is there."""
        if len(items) == 0:
            return _NO_ITEMS, _NO_ITEMS
        least = min(self.of(items).tolist())
        at, found, _ = self.entries(least)
        order = items.argsort()
        ordered = items.take(order)
        place = ordered.searchsorted(found)
        (hits,) = (ordered.take(place, mode="clip") == found).nonzero()
        return at.take(hits), order.take(place.take(hits))

    def _candidates(
        self,
        items: np.ndarray,
        scores: np.ndarray,
        floor: float,
        count: int,
        allowed: Allowed | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The allowed ones of `items` and of whatever else may score `floor` or more."""
        others = self.repeats
        if self.fills and floor <= self.trend.peak:
            others = np.concatenate((others, self._unreached(count, allowed)))
        if len(others) > 0:
            items = np.concatenate((items, others))
            scores = np.concatenate((scores, self.of(others)))
        elif allowed is None and floor > -np.inf:  # what `floor` found already
            return items, scores
        return _shown(items, scores, allowed, floor)

    def _unreached(self, count: int, allowed: Allowed | None) -> np.ndarray:
        """The `count` best allowed products by the prior alone."""
        found: list[np.ndarray] = []
        missing, start, block = count, 0, 4 * count
        while missing > 0 and start < len(self.trend.order):
            items = self.trend.order[start : start + block].astype(np.int64)
            items = items[self.personal.take(items) == 0]
            items = (items if allowed is None else items[allowed(items)])[:missing]
            found.append(items)
            missing, start, block = missing - len(items), start + block, 4 * block
        return np.concatenate(found) if found else _NO_ITEMS


def _narrowed(entries: Entries, floor: float) -> Entries:
    """Those of the entries that score `floor` or more."""
    at, items, scores = entries
    (kept,) = (scores >= floor).nonzero()
    return at.take(kept), items.take(kept), scores.take(kept)


def _nth_score(scores: np.ndarray, count: int) -> float:
    """The `count`-th of the distinct scores, best first, or the last of fewer: as many products
    have it or more."""
    rising = np.sort(scores)
    (steps,) = (rising[1:] != rising[:-1]).nonzero()
    return float(rising[steps[-count] + 1 if count <= len(steps) else 0])


def _shown(
    items: np.ndarray, scores: np.ndarray, allowed: Allowed | None, floor: float
) -> tuple[np.ndarray, np.ndarray]:
    """Those that reach `floor`, pass the filters and may be shown."""
    shown = scores >= max(floor, _LOWEST)
    if allowed is not None:
        shown &= allowed(items)
    return items[shown], scores[shown]


def _head(items: np.ndarray, scores: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The best `count` entries and all that tie with the last of them, in no order."""
    if len(scores) <= 2 * count:
        return items, scores
    top = np.flatnonzero(scores >= np.partition(scores, -count)[-count])
    return items[top], scores[top]


def ordered(items: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Best first, ties by code, each product once.

    A product stands beside itself once the scores are sorted, unless another has the very same
    score; only then are the codes sorted too, which takes ten times as long."""
    falling = -scores
    order = falling.argsort()
    codes, best = _once(items.take(order), scores.take(order))
    if np.count_nonzero(best[1:] == best[:-1]):
        order = np.lexsort((items, falling))
        return _once(items.take(order), scores.take(order))
    return codes, best


def _once(items: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first of each run of the same product."""
    first = np.ones(len(items), dtype=bool)
    np.not_equal(items[1:], items[:-1], out=first[1:])
    (at,) = first.nonzero()
    return items.take(at), scores.take(at)
