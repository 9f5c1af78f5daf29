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
Names = tuple[list[str], list[str | None], list[str | None]]


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
        names = self._names()
        return [self._row(names, *row) for row in zip(*columns, strict=True)]

    def _names(self) -> Names:
        """Kind, product and title of each column; a product's own repeat is named row by row."""
        ids, titles, sources = self.product_ids, self.titles, self.sources
        return (
            [self.kind] * len(sources) + ["repeat", "trend"],
            [*[ids[source] for source in sources], None, None],
            [*[titles[source] if titles else None for source in sources], None, None],
        )

    def _row(
        self,
        names: Names,
        item: int,
        columns: list[int],
        values: list[float],
        count: int,
        rest: float,
    ) -> list[Reason]:
        if count == 0:
            return [Reason("trend", 0.0)]
        shown = columns[: count if count <= SHOWN_REASONS + 1 else SHOWN_REASONS]
        kinds, ids, titles = names
        ids[-2] = self.product_ids[item]
        titles[-2] = self.titles[item] if self.titles else None
        named = (map(names_of.__getitem__, shown) for names_of in (ids, titles))
        found = list(map(Reason, map(kinds.__getitem__, shown), values, *named))
        if len(shown) < count:
            found.append(Reason("other", rest))
        return found
