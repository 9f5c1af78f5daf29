"""What makes an answer varied: quotas' groups, and the trade-off between score and likeness.

The trade-off is maximal marginal relevance (Carbonell and Goldstein 1998): the next product is the
one with the largest (1 - weight) · score / best score - weight · likeness to what is already shown,
over the best few times as many products as there are slots. Numpy only; runs in a Lambda.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from inference.filters import Attributes
from inference.neighbours import Neighbours

Groups = Callable[[int], tuple[float, ...]]
Likeness = Callable[[int], np.ndarray]


def groups_of(attributes: Attributes, name: str) -> Groups:
    """The values that a product has of an attribute: one or none, or its tags."""
    kind, column = attributes.specs[name]["type"], attributes.array(name)
    if kind == "tags":
        indptr = attributes.array(name, "indptr")
        return lambda item: tuple(column[indptr[item] : indptr[item + 1]].tolist())
    if kind == "category":
        return lambda item: (int(column[item]),) if column[item] >= 0 else ()
    return lambda item: () if np.isnan(column[item]) else (float(column[item]),)


@dataclass
class TradeOff:
    """The candidates `items` with their relevance; `likeness(item)` is to each of them, 0 to 1."""

    items: np.ndarray
    relevance: np.ndarray
    weight: float
    likeness: Likeness
    nearest: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.nearest = np.zeros(len(self.items))

    def first(self, fits: Callable[[int], bool]) -> int | None:
        """The candidate with the best trade-off among those that fit; ties to the better score."""
        value = (1.0 - self.weight) * self.relevance - self.weight * self.nearest
        order = np.argsort(-value, kind="stable")
        return next((item for item in self.items[order].tolist() if fits(item)), None)

    def take(self, item: int) -> None:
        """`item` is shown: what is like it is worth less from here on."""
        np.maximum(self.nearest, self.likeness(item), out=self.nearest)

    @classmethod
    def by_attribute(
        cls,
        items: np.ndarray,
        scores: np.ndarray,
        attributes: Attributes,
        name: str,
        *,
        weight: float,
    ) -> TradeOff:
        """Likeness is the share of common values (Jaccard): 1 or 0 where there is one value."""
        groups = groups_of(attributes, name)
        sets = [frozenset(groups(item)) for item in items.tolist()]

        def likeness(item: int) -> np.ndarray:
            own = frozenset(groups(item))
            return np.array([len(own & s) / len(own | s) if own and s else 0.0 for s in sets])

        return cls(items, _relevance(scores), weight, likeness)

    @classmethod
    def by_neighbours(
        cls, items: np.ndarray, scores: np.ndarray, matrix: Neighbours, *, weight: float
    ) -> TradeOff:
        """Likeness is the share of common neighbours (Jaccard)."""
        rows, real = matrix.patterns(items)
        sizes = real.sum(axis=1)

        def likeness(item: int) -> np.ndarray:
            own, is_real = matrix.patterns(np.array([item]))
            shown = np.zeros(len(matrix.targets), dtype=bool)
            shown[own[is_real]] = True
            common = (shown.take(rows) & real).sum(axis=1)
            return common / np.maximum(1, sizes + is_real.sum() - common)

        return cls(items, _relevance(scores), weight, likeness)


def _relevance(scores: np.ndarray) -> np.ndarray:
    best = float(np.abs(scores).max(initial=0.0))
    return scores / best if best > 0 else scores
