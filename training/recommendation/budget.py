"""Nominal CPU seconds of the search's steps, from sizes: a budget that does not look at a clock.

The rates were measured on 2 cores of an AMD EPYC. On another machine the search is the same and
takes another time; it never depends on what else the machine does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.recommendation.cooccurrence import MOST_ITEMS
from training.recommendation.parameters import (
    BASKETS,
    CONTENT,
    CUSTOMERS,
    IMAGES,
    SPECTRAL,
    TRANSITIONS,
    Parameters,
)
from training.recommendation.prepare import Prepared
from training.recommendation.search import Move, PartMove

RANKS = (64, 128, 256, 512, 768, 1024, 1152)
_DENSE_FLOPS = 5e10
_SPARSE_FLOPS = 1.0e9
_SPARSE_ENTRIES = 2.5e7
_DENSE_ENTRIES = 4e8
_TRIAL_ENTRIES = 1e8
_MARGIN = 0.1
_WINDOW = 20
_SCORED_ENTRIES = 2.0e8
_SEARCHED = 1 / 20
_LEAST_SEARCHED = 1_000_000


@dataclass(frozen=True)
class Sizes:
    """What the cost of fitting follows from: products, customers, interactions, and pairs of one
    customer's interactions."""

    products: int
    customers: int
    interactions: int
    pairs: float

    @classmethod
    def of(cls, data: Prepared) -> Sizes:
        lengths = np.minimum(np.bincount(data.customers), MOST_ITEMS).astype(float)
        pairs = float((lengths**2).sum())
        customers = int(data.meta["customers"])
        return cls(data.product_count, customers, len(data.items), pairs)

    def fit(self, part: str) -> float:
        """Fitting a part."""
        pairs = {
            TRANSITIONS: self.interactions * 2.0 * _WINDOW,
            CUSTOMERS: self.pairs,
            BASKETS: self.pairs,
            CONTENT: self.products * 1000.0,
            IMAGES: self.products * (1000.0 + self.products * _SPARSE_ENTRIES / _DENSE_ENTRIES),
        }[part]
        return pairs / _SPARSE_ENTRIES

    def vectors(self, rank: int) -> float:
        """Singular vectors."""
        wide = rank + 32.0
        sparse = 7 * 2.0 * self.interactions * wide / _SPARSE_FLOPS
        dense = 3 * 8.0 * self.products * wide**2 + 40.0 * wide**3
        return sparse + dense / _DENSE_FLOPS

    def fitting(self, rank: int) -> float:
        """A model of everything. `rank` 0 is one without singular vectors; of these all rows are
        computed and pruned."""
        sparse = sum(self.fit(part) for part in (TRANSITIONS, CUSTOMERS, CONTENT))
        entries = float(self.products) ** 2
        compiling = 2.0 * entries * rank / _DENSE_FLOPS + entries / _DENSE_ENTRIES
        return sparse + (self.vectors(rank) + compiling if rank else 0.0)

    def factors(self, count: int) -> float:
        """Alternating least squares of 10 iterations."""
        rows = self.products + self.customers
        return 10 * (3 * 2.5 * 2.0 * self.interactions * count + 8.0 * rows * count**2) / 6e9

    def share_within(self, seconds: float) -> float:
        """The share of the customers that the search looks at: as many as can be fitted in a
        twentieth of the budget, but at least a million interactions."""
        cost = self.fit(TRANSITIONS) + self.fit(CUSTOMERS)
        least = _LEAST_SEARCHED / max(1, self.interactions)
        return min(1.0, max(seconds * _SEARCHED / cost, least)) if cost else 1.0


class Budget:
    """Spends nominal CPU seconds on trials with what is `searched`, `customers` of whom are asked;
    the fit of the `whole` after the search keeps what it needs."""

    def __init__(self, whole: Sizes, searched: Sizes, customers: int, seconds: float) -> None:
        self.whole, self.searched, self.customers = whole, searched, customers
        self.seconds = seconds
        self.left = seconds

    def allows(self, cost: float) -> bool:
        return cost <= self.left

    def spend(self, cost: float) -> None:
        self.left -= cost

    def of(self, move: Move, candidate: Parameters) -> float:
        """What trying a move costs."""
        trial = self.customers * 1000.0 / _TRIAL_ENTRIES
        rank = candidate.spectral.rank
        if isinstance(move, PartMove) and move.part == SPECTRAL:
            anew = 0.0 if move.field == "rank" else self.searched.vectors(rank)
            return trial + anew + self.feature(rank)
        if isinstance(move, PartMove):
            return trial + self.searched.fit(move.part) + 2 * self.feature(0)
        if move.redoes == "nothing":
            return trial
        spectral = self.feature(rank) if candidate.weight(SPECTRAL) else 0.0
        return trial + 3 * self.feature(0) + spectral

    def feature(self, rank: int) -> float:
        """Scoring the validation customers by one part; `rank` 0 is a sparse one."""
        entries = self.customers * float(self.searched.products)
        history = self.searched.interactions / max(1, self.searched.customers)
        sparse = self.customers * min(200.0, history) * 200.0 / _SPARSE_ENTRIES
        dense = 2.0 * entries * rank / _DENSE_FLOPS
        return entries / _DENSE_ENTRIES + (dense if rank else sparse)

    def reserve(self, rank: int, factors: int, *, newcomers: bool) -> None:
        """Keep what the final fit and the trials of factors and newcomers will need, and a
        margin."""
        factoring = self.whole.factors(factors) if self.affords_factors(factors) else 0.0
        kept = self.whole.fitting(rank) + 2 * factoring + _MARGIN * self.seconds
        kept += self.whole.fitting(rank) + factoring if newcomers else 0.0
        self.left = max(0.0, self.seconds - kept)

    def affords_factors(self, count: int) -> bool:
        """Whether fitting factors twice, to try them and to keep them, takes a third at most."""
        return 2 * self.whole.factors(count) <= self.seconds / 3

    def pool(self, features: int) -> float:
        """Finding the best of each feature for every customer."""
        entries = self.customers * float(self.searched.products) * features
        return 2 * entries / _DENSE_ENTRIES


def ranks_within(budget: Budget) -> tuple[int, ...]:
    """The ranks whose final fit stays within half of the budget, and whose search within a quarter;
    a twelfth of the products at most, for more would hardly smooth anything."""
    most = min(budget.searched.products, budget.searched.customers) // 12
    return tuple(
        rank
        for rank in RANKS
        if rank <= most
        and budget.whole.fitting(rank) <= budget.seconds / 2
        and budget.searched.vectors(rank) + 4 * budget.feature(rank) <= budget.seconds / 4
    )


def customers_within(train: Prepared) -> int:
    """How many validation customers: as many as can be scored over the catalogue in a second."""
    return max(1000, int(_SCORED_ENTRIES / max(1, train.product_count)))
