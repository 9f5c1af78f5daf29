"""Why a product is in an answer: the parts of its score by the product they come from, exactly.

Numpy only; runs in a Lambda; called by `inference.recommender`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from inference.contracts import Reason
from inference.scores import Scores

SHOWN_REASONS = 5
Amounts = tuple[np.ndarray, np.ndarray, np.ndarray]


class Parts(msgspec.Struct, frozen=True):
    """What the scores of some items, `totals`, are the sums of: `columns` and `values` of one item
    after the other, `counts` of each, by falling amount and without zeros."""

    totals: list[float]
    counts: list[int]
    columns: list[int]
    values: list[float]

    @classmethod
    def of(cls, amounts: Amounts, count: int) -> Parts:
        """Of `count` items: each part's item, column and value; equal ones keep their order."""
        place, columns, values = amounts
        if np.count_nonzero(values) < len(values):
            place, columns, values = (part[values != 0] for part in amounts)
        order = np.lexsort((-np.abs(values), place))
        return cls(
            totals=np.bincount(place, values, count).tolist(),
            counts=np.bincount(place, minlength=count).tolist(),
            columns=columns.take(order).tolist(),
            values=values.take(order).tolist(),
        )

    @classmethod
    def of_rows(cls, rows: np.ndarray) -> Parts:
        """Of a row of columns for each item, few of them zero: more columns than are shown are one
        part, of the column behind the last."""
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
    """Names the columns of parts: one a source, then repeat, trend and other."""

    product_ids: Sequence[str]
    titles: Sequence[str | None]
    sources: list[int]
    kind: str

    def reasons(self, items: Sequence[int], parts: Parts) -> list[list[Reason]]:
        """The largest few reasons of each item and the rest as one: each list sums to its total."""
        found, start = [], 0
        for item, count in zip(items, parts.counts, strict=True):
            # One more is shown as itself.
            shown = start + (count if count <= SHOWN_REASONS + 1 else SHOWN_REASONS)
            one = self._named(item, parts.columns[start:shown], parts.values[start:shown])
            start += count
            if shown < start:
                one.append(Reason("other", sum(parts.values[shown:start])))
            found.append(one or [Reason("trend", 0.0)])
        return found

    def _named(self, item: int, columns: list[int], values: list[float]) -> list[Reason]:
        """One reason for each part of the item's score."""
        ids, titles, kind, sources = self.product_ids, self.titles, self.kind, self.sources
        past = len(sources)
        return [
            Reason(kind, value, ids[at := sources[column]], titles[at])
            if column < past
            else self._own(item, column - past, value)
            for column, value in zip(columns, values, strict=True)
        ]

    def _own(self, item: int, which: int, value: float) -> Reason:
        """What the item has of itself, its repeat part (0) or its trend (1); or the rest (2)."""
        if which > 0:
            return Reason("trend" if which == 1 else "other", value)
        return Reason("repeat", value, self.product_ids[item], self.titles[item])
