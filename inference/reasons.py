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


def contributions(scores: Scores, items: np.ndarray) -> np.ndarray:
    """What each source adds to each of `items` by the matrix: float64 (items, sources)."""
    sources, width = scores.targets.shape
    at, place = scores.entries_of(items)
    values = scores.values.ravel().take(at)
    sums = np.bincount(place * sources + at // width, values, minlength=len(items) * sources)
    return sums.reshape(len(items), sources)


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
        order = (-np.abs(parts)).argsort(axis=1, kind="stable")[:, : SHOWN_REASONS + 1]
        values = parts[np.arange(len(parts))[:, None], order]
        counts = (parts != 0).sum(axis=1)
        rest = parts.sum(axis=1) - values[:, :SHOWN_REASONS].sum(axis=1)
        columns = (items.tolist(), order.tolist(), values.tolist(), counts.tolist(), rest.tolist())
        return [self._row(*row) for row in zip(*columns, strict=True)]

    def _row(
        self, item: int, columns: list[int], values: list[float], count: int, rest: float
    ) -> list[Reason]:
        if count == 0:
            return [Reason("trend", 0.0)]
        shown = count if count <= SHOWN_REASONS + 1 else SHOWN_REASONS
        sources, kind, ids, titles = self.sources, self.kind, self.product_ids, self.titles
        past, found = len(sources), []
        for column, value in zip(columns[:shown], values, strict=False):
            if column < past:
                source = sources[column]
                found.append(Reason(kind, value, ids[source], titles[source] if titles else None))
            else:
                found.append(self._own(item, column - past, value))
        if shown < count:
            found.append(Reason("other", rest))
        return found

    def _own(self, item: int, which: int, value: float) -> Reason:
        """What the item has of itself: its repeat part (0) or its trend (1)."""
        if which == 1:
            return Reason("trend", value)
        title = self.titles[item] if self.titles else None
        return Reason("repeat", value, self.product_ids[item], title)
