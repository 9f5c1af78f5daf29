"""The fitted parts of a recommender for any parameters, each fitted once while it is in use."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
import numpy as np

from training.recommendation.content import ContentSimilarity
from training.recommendation.cooccurrence import Cooccurrence, group_matrix
from training.recommendation.images import ImageSimilarity
from training.recommendation.kept import Kept
from training.recommendation.matrices import Part
from training.recommendation.parameters import (
    BASKETS,
    CONTENT,
    CUSTOMERS,
    IMAGES,
    PARTS,
    SPECTRAL,
    TRANSITIONS,
    Parameters,
)
from training.recommendation.popularity import RecentPopularity
from training.recommendation.prepare import Prepared
from training.recommendation.spectral import (
    filter_of,
    item_counts,
    normalised,
    singular_vectors,
)
from training.recommendation.transitions import DecayedTransitions

_KEPT = 3
SVD_ITERATIONS = 3


class Parts:
    """Fits on `prepared`. `rank` is the most singular vectors that are ever asked for."""

    def __init__(self, prepared: Prepared, *, neighbours: int, seed: int, rank: int) -> None:
        self.prepared = prepared
        self.neighbours = neighbours
        self.seed = seed
        self.rank = min(rank, prepared.product_count, prepared.meta["customers"])
        self._kept: dict[str, Kept[Any]] = defaultdict(lambda: Kept(_KEPT))

    def available(self) -> tuple[str, ...]:
        """The parts that this data can fill."""
        kind, present = self.prepared.meta["kind"], {CUSTOMERS}
        if kind != "set":
            present.add(TRANSITIONS)
        if kind == "timed" and len(np.unique(self.prepared.baskets)) < 0.9 * len(
            self.prepared.items
        ):
            present.add(BASKETS)
        if self.rank > 0:
            present.add(SPECTRAL)
        if len(self.prepared.tokens.codes):
            present.add(CONTENT)
        if self.prepared.images is not None:
            present.add(IMAGES)
        return tuple(part for part in PARTS if part in present)

    def part(self, name: str, parameters: Parameters) -> Part:
        """The item-to-item matrix of a part."""
        inner = getattr(parameters, name)
        if name == SPECTRAL:
            return self._spectral(parameters)
        settings = msgspec.structs.asdict(inner)
        settings["neighbours"] = self.neighbours
        if name in (CUSTOMERS, BASKETS):
            settings["by"] = "customer" if name == CUSTOMERS else "basket"
        model = {
            TRANSITIONS: DecayedTransitions,
            CUSTOMERS: Cooccurrence,
            BASKETS: Cooccurrence,
            CONTENT: ContentSimilarity,
            IMAGES: ImageSimilarity,
        }[name]
        return self._kept[name].get(
            inner, lambda: model(**settings).fit_prepared(self.prepared).matrix_
        )

    def _spectral(self, parameters: Parameters) -> Part:
        inner = parameters.spectral

        def vectors() -> tuple[np.ndarray, np.ndarray]:
            seen = group_matrix(self.prepared)
            matrix = normalised(seen, inner.customer_power, inner.item_power)
            found = singular_vectors(
                matrix, self.rank, iterations=SVD_ITERATIONS, random_state=self.seed
            )
            return found, item_counts(seen)

        found, counts = self._kept["vectors"].get((inner.customer_power, inner.item_power), vectors)
        return self._kept[SPECTRAL].get(
            inner, lambda: filter_of(found, counts, inner.rank, inner.item_power)
        )

    def prior(self, half_life_days: float) -> np.ndarray:
        """The trend (products,), at most 1."""
        return self._kept["trend"].get(
            half_life_days,
            lambda: RecentPopularity(half_life_days).fit(self.prepared).prior_,
        )
