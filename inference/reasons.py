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
    place = np.full(len(scores.personal), -1, dtype=np.int16)
    place[items] = np.arange(len(items), dtype=np.int16)
    places = place.take(scores.targets.ravel())
    at = np.flatnonzero(places >= 0)
    cells = places.take(at).astype(np.int64) * sources + at // width
    sums = np.bincount(
        cells, weights=scores.values.ravel().take(at), minlength=len(items) * sources
    )
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
        order = np.argsort(-np.abs(parts), axis=1, kind="stable")[:, : SHOWN_REASONS + 1]
        counts = np.count_nonzero(parts, axis=1).tolist()
        values = np.take_along_axis(parts, order, axis=1)
        rest = (parts.sum(axis=1) - values[:, :SHOWN_REASONS].sum(axis=1)).tolist()
        rows = zip(items.tolist(), order.tolist(), values.tolist(), counts, rest, strict=True)
        return [self._row(*row) for row in rows]

    def _row(
        self, item: int, columns: list[int], values: list[float], count: int, rest: float
    ) -> list[Reason]:
        if count == 0:
            return [Reason("trend", 0.0)]
        shown = count if count <= SHOWN_REASONS + 1 else SHOWN_REASONS
        found = [
            self._reason(item, column, value)
            for column, value in zip(columns[:shown], values[:shown], strict=True)
        ]
        if shown < count:
            found.append(Reason("other", rest))
        return found

    def _reason(self, item: int, column: int, value: float) -> Reason:
        past = column - len(self.sources)
        if past == 1:
            return Reason("trend", value)
        source = item if past == 0 else self.sources[column]
        kind = "repeat" if past == 0 else self.kind
        title = self.titles[source] if self.titles else None
        return Reason(kind, value, self.product_ids[source], title)
