"""Why a product is in an answer: the parts of its score by the product they come from, exactly.

Numpy only; runs in a Lambda; called by `inference.recommender`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, chain, pairwise, repeat

import msgspec
import numpy as np

from inference.contracts import Reason
from inference.scores import Scores

SHOWN_REASONS = 5
# The columns of parts behind those of the sources: what an item has of itself, and the rest.
REPEAT, TREND, OTHER = range(3)
Amounts = tuple[np.ndarray, np.ndarray, np.ndarray]


class Parts(msgspec.Struct, frozen=True):
    """What the scores of some items, `totals`, are the sums of, as it is shown: `columns` and
    `values` of one item after the other, `counts` of each, by falling amount and without zeros."""

    totals: list[float]
    counts: list[int]
    columns: list[int]
    values: list[float]

    @classmethod
    def of(cls, amounts: Amounts, count: int, *, past: int) -> Parts:
        """Of `count` items and `past` sources: each part's item, column and value; equal ones keep
        their order."""
        place, columns, values = amounts
        if np.count_nonzero(values) < len(values):
            place, columns, values = (part[values != 0] for part in amounts)
        order = np.lexsort((-np.abs(values), place))
        totals = np.bincount(place, values, count).tolist()
        counts = np.bincount(place, minlength=count).tolist()
        shown = columns.take(order).tolist(), values.take(order).tolist()
        _cut_short(counts, *shown, other=past + OTHER)
        return cls(totals, counts, *shown)

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> Parts:
        """Of a row for each item: columns for the sources, repeat and trend, few of them zero."""
        order = (-np.abs(rows)).argsort(axis=1, kind="stable")[:, : SHOWN_REASONS + 2]
        values = rows[np.arange(len(rows))[:, None], order]
        totals = rows.sum(axis=1)
        rest = totals - values[:, :SHOWN_REASONS].sum(axis=1)
        cut = values[:, SHOWN_REASONS + 1 :].any(axis=1)
        last = slice(SHOWN_REASONS, SHOWN_REASONS + 1)
        order[cut, last], values[cut, last] = rows.shape[1], rest[cut, None]
        values[:, SHOWN_REASONS + 1 :] = 0.0
        shown = values != 0
        return cls(
            totals=totals.tolist(),
            counts=shown.sum(axis=1).tolist(),
            columns=order[shown].tolist(),
            values=values[shown].tolist(),
        )


def _cut_short(counts: list[int], columns: list[int], values: list[float], *, other: int) -> None:
    """Make what is more than can be shown of an item one part, of the column `other`: in place,
    from the end, for taking out of the middle moves what follows."""
    end = len(values)
    for place in range(len(counts) - 1, -1, -1):
        start = end - counts[place]
        first = start + SHOWN_REASONS
        if end > first + 1:  # one more is shown as itself
            values[first:end] = [sum(values[first:end])]
            columns[first:end] = [other]
            counts[place] = SHOWN_REASONS + 1
        end = start


def contributions(scores: Scores, items: np.ndarray) -> Amounts:
    """What the sources add to the scores of `items` by the matrix: which item, source, amount."""
    at, place = scores.entries_of(items)
    return place, at // scores.targets.shape[1], scores.values.ravel().take(at)


def in_rows(amounts: Amounts, count: int, width: int) -> np.ndarray:
    """The parts of `count` items as rows of `width` columns: float64 (items, width)."""
    place, columns, values = amounts
    sums = np.bincount(place * width + columns, values, minlength=count * width)
    # Of nothing, numpy counts in integers.
    return sums.astype(np.float64, copy=False).reshape(count, width)


class Explainer(msgspec.Struct, frozen=True):
    """Names the columns of parts, of which the first are the sources'."""

    product_ids: Sequence[str]
    titles: Sequence[str | None]
    sources: list[int]
    kind: str

    def reasons(self, items: Sequence[int], parts: Parts) -> list[list[Reason]]:
        """The largest few reasons of each item and the rest as one: each list sums to its total."""
        ids, titles, kind, sources = self.product_ids, self.titles, self.kind, self.sources
        past = len(sources)
        owners = chain.from_iterable(map(repeat, items, parts.counts))
        # All at once: a loop for each item takes twice as long.
        every = [
            Reason(kind, value, ids[at := sources[column]], titles[at])
            if column < past
            else self._own(item, column - past, value)
            for item, column, value in zip(owners, parts.columns, parts.values, strict=True)
        ]
        bounds = pairwise(accumulate(parts.counts, initial=0))
        return [every[start:end] or [Reason("trend", 0.0)] for start, end in bounds]

    def _own(self, item: int, which: int, value: float) -> Reason:
        """What the item has of itself, or the rest."""
        if which == REPEAT:
            return Reason("repeat", value, self.product_ids[item], self.titles[item])
        return Reason("trend" if which == TREND else "other", value)
