"""A fitted blend that scores whole catalogues for many customers, as the serving core would.

Called by `newcomer_tuning`, which adds products that the blend knows nothing of.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from msgspec.structs import replace

from inference.factors import SCALE_BY_BEST
from training.recommendation.compilation import compile_matrix
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.factors import ItemFactors, fold_in
from training.recommendation.histories import Histories, event_weight_array
from training.recommendation.parameters import (
    HISTORY_LENGTH,
    LASTING,
    RECENT,
    SPECTRAL,
    Parameters,
)
from training.recommendation.parts import Parts
from training.recommendation.prepare import Prepared


@dataclass(frozen=True)
class Blend:
    """A model fitted without the hidden products, before it knows what to do with them."""

    shown: Prepared
    parameters: Parameters
    parts: Parts
    matrix: sp.csr_matrix
    factors: ItemFactors | None

    @classmethod
    def fit(
        cls, shown: Prepared, parameters: Parameters, configuration: RecommenderConfiguration
    ) -> Blend:
        rank = parameters.spectral.rank if parameters.weight(SPECTRAL) else 0
        seed, width = configuration.seed, configuration.neighbours
        parts = Parts(shown, neighbours=width, seed=seed, rank=rank)
        factors = None
        if parameters.factor_weight:
            factors = ItemFactors(configuration.factors, random_state=seed).fit(shown)
        return cls(shown, parameters, parts, compile_matrix(parts, parameters, width), factors)

    def new_only(self) -> Blend:
        """The same as it answers who asks for what is new to them."""
        p = self.parameters
        asked = replace(p, exclude_seen=True, trend_weight=p.new_trend_weight)
        return dataclasses.replace(self, parameters=asked)

    def scores(self, block: Histories) -> tuple[np.ndarray, np.ndarray]:
        """Of all products (customers, products): what the history says through matrix and factors,
        and the whole score, -inf for what is left out."""
        p, n = self.parameters, self.shown.product_count
        events = event_weight_array(self.shown.meta["events"], p.event_weights)
        said = np.zeros((len(block), n), dtype=np.float32)
        for memory, values in ((RECENT, self.matrix.real), (LASTING, self.matrix.imag)):
            weights = block.weights(
                p.memory_decay(memory),
                length=HISTORY_LENGTH,
                power=p.history_power,
                product_count=n,
                event_weights=events,
            )
            said += (np.float32(p.memory_scale(memory)) * (weights @ values)).toarray()
        whole = said + np.float32(p.trend_weight) * self.parts.prior(p.trend_half_life_days)
        if p.repeat_weight and not p.exclude_seen:
            half_life, decay = p.repeat_half_life_days, p.repeat_decay
            again = block.recency(half_life, decay, product_count=n, event_weights=events)
            whole += p.repeat_weight * again.toarray()
        if p.exclude_seen:
            whole[block.seen(n).nonzero()] = -np.inf
        return self._with_factors(block, said, whole)

    def _with_factors(
        self, block: Histories, said: np.ndarray, whole: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        if self.factors is None:
            return said, whole
        told = fold_in(block, self.factors) @ self.factors.item_factors_.T
        shown = np.where(np.isfinite(whole), told, -np.inf)
        scale = self.parameters.factor_weight * _level(whole) / np.maximum(_level(shown), 1e-9)
        told = (scale[:, None] * told).astype(np.float32)
        return said + told, whole + told


def _level(values: np.ndarray) -> np.ndarray:
    """The mean of each row's best, by which the serving core scales factors."""
    count = min(SCALE_BY_BEST, values.shape[1])
    best = -np.partition(-values, count - 1, axis=1)[:, :count]
    return np.asarray(np.where(np.isfinite(best), best, 0.0).mean(axis=1))
