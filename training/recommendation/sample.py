"""Some of the customers, with all that they did: what the search of a large shop looks at."""

from __future__ import annotations

import dataclasses

import numpy as np

from training.recommendation.prepare import Prepared


def some_customers(data: Prepared, share: float, *, seed: int) -> Prepared:
    """The interactions of about that share of the customers, drawn; 1 leaves `data` as it is.
    Customers and baskets are counted anew, so that nothing grows with those left out."""
    if share >= 1:
        return data
    drawn = np.random.default_rng(seed).random(int(data.meta["customers"])) < share
    part = data.take(drawn[data.customers])
    codes = np.cumsum(drawn) - 1
    return dataclasses.replace(
        part,
        customers=codes[part.customers].astype(part.customers.dtype),
        baskets=np.unique(part.baskets, return_inverse=True)[1],
        meta={**part.meta, "customers": int(drawn.sum())},
    )
