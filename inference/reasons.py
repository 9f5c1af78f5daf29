"""Why a product is in an answer: the parts of its score by the product they come from, exactly.

Numpy only; runs in a Lambda; called by `inference.recommender`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from inference.contracts import Reason
from inference.scores import Scores

SHOWN_REASONS = 5


def contributions(scores: Scores, items: np.ndarray, columns: int) -> np.ndarray:
    """What each source adds to each of `items` by the matrix: float64 (items, columns), zero in the
    `columns` behind the sources'."""
    at, place = scores.entries_of(items)
    values = scores.values.ravel().take(at)
    cells = place * columns + at // scores.targets.shape[1]
    sums = np.bincount(cells, values, minlength=len(items) * columns)
    # Of nothing, numpy counts in integers.
    return sums.astype(np.float64, copy=False).reshape(len(items), columns)


@dataclass(frozen=True)
class Explainer:
    """Names the columns of contributions: one a source, then repeat, then trend."""

    product_ids: Sequence[str]
    titles: Sequence[str | None] | None
    sources: list[int]
    kind: str

    def reasons(self, items: np.ndarray, parts: np.ndarray) -> list[list[Reason]]:
        """The largest few reasons of each item and the rest as one: each list sums to its row.

        `parts` is (items, sources + 2).
        """
        order = (-np.abs(parts)).argsort(axis=1, kind="stable")[:, : SHOWN_REASONS + 2]
        values = parts[np.arange(len(parts))[:, None], order]
        shown = values != 0
        cut = shown[:, SHOWN_REASONS + 1 :].any(axis=1)  # one more is shown as itself
        shown[cut, SHOWN_REASONS:] = False
        rows, places = shown.nonzero()
        named = self._named(items.take(rows), order[rows, places], values[rows, places])
        rest = parts.sum(axis=1) - values[:, :SHOWN_REASONS].sum(axis=1)
        found: list[list[Reason]] = [[] for _ in parts]
        for row, reason in zip(rows.tolist(), named, strict=True):
            found[row].append(reason)
        for row in cut.nonzero()[0].tolist():
            found[row].append(Reason("other", float(rest[row])))
        return [reasons or [Reason("trend", 0.0)] for reasons in found]

    def _named(self, items: np.ndarray, columns: np.ndarray, values: np.ndarray) -> list[Reason]:
        """One reason each: what `items` have of `values` by the `columns` of their parts."""
        past, kind, ids, titles = len(self.sources), self.kind, self.product_ids, self.titles
        given = zip(items.tolist(), columns.tolist(), values.tolist(), strict=True)
        sources = self.sources
        return [
            self._own(item, column - past, value)
            if column >= past
            else Reason(
                kind, value, ids[at := sources[column]], None if titles is None else titles[at]
            )
            for item, column, value in given
        ]

    def _own(self, item: int, which: int, value: float) -> Reason:
        """What the item has of itself: its repeat part (0) or its trend (1)."""
        if which == 1:
            return Reason("trend", value)
        title = self.titles[item] if self.titles else None
        return Reason("repeat", value, self.product_ids[item], title)
