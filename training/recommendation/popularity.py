"""How often each product was taken, lately or ever."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator

from training.recommendation.prepare import Prepared

_DAY_SECONDS = 86_400.0


class RecentPopularity(BaseEstimator):
    """Counts halved every `half_life_days`.

    Infinite half-life is plain popularity. Without times the half-life is ignored. `prior_`
    (products,) is scaled to a maximum of 1.
    """

    def __init__(self, half_life_days: float = 14.0) -> None:
        self.half_life_days = half_life_days

    def fit(self, prepared: Prepared) -> RecentPopularity:
        weight = np.ones(len(prepared.items))
        if prepared.meta["timed"]:
            age = (prepared.times.max() - prepared.times) / _DAY_SECONDS
            weight = 0.5 ** (age / self.half_life_days)
        prior = np.bincount(prepared.items, weights=weight, minlength=prepared.product_count)
        self.prior_ = prior / prior.max()
        return self
