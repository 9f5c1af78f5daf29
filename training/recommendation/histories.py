"""Customers with a history before a window and what they took within it, as flat arrays.

The protocol of every evaluation here: the history is all before the window; the targets are the
customer's first visit in it (purchases where there are any), or all that was held out where the
data has neither times nor order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from training.recommendation.prepare import Prepared

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Histories:
    """Histories of many customers, whose codes are `customers`. Customer `c` has the events
    `indptr[c]:indptr[c + 1]`, oldest first: `items` and `events` are codes, `ages` days (nan
    without times). `target_indptr` and `targets` hold the distinct item codes to be found."""

    customers: np.ndarray
    indptr: np.ndarray
    items: np.ndarray
    ages: np.ndarray
    events: np.ndarray
    target_indptr: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def history(self, row: int) -> slice:
        """Where customer `row` stands in `items`, `ages` and `events`."""
        return slice(self.indptr[row], self.indptr[row + 1])

    def targets_of(self, row: int) -> np.ndarray:
        return self.targets[self.target_indptr[row] : self.target_indptr[row + 1]]

    def block(self, start: int, stop: int) -> Histories:
        """The customers from `start` up to `stop`."""
        stop = min(stop, len(self))
        events = slice(self.indptr[start], self.indptr[stop])
        targets = slice(self.target_indptr[start], self.target_indptr[stop])
        return Histories(
            customers=self.customers[start:stop],
            indptr=self.indptr[start : stop + 1] - self.indptr[start],
            items=self.items[events],
            ages=self.ages[events],
            events=self.events[events],
            target_indptr=self.target_indptr[start : stop + 1] - self.target_indptr[start],
            targets=self.targets[targets],
        )

    def weights(
        self,
        decay: float,
        *,
        length: int,
        power: float = 1.0,
        product_count: int,
        event_weights: np.ndarray | None = None,
    ) -> sp.csr_matrix:
        """Customers × products: decayed weights of the last `length` events, divided by their sum
        to the `power`. `event_weights` by event code, 1 where absent."""
        steps = self._steps_back()
        weight = np.where(steps < length, float(decay) ** np.minimum(steps, 10_000), 0.0)
        if event_weights is not None:
            weight = weight * event_weights[self.events]
        totals = np.maximum(self._row_sums(weight), 1e-12)
        weight /= np.repeat(totals**power, np.diff(self.indptr))
        return self._matrix(weight, product_count)

    def recency(
        self,
        half_life_days: float,
        decay: float,
        *,
        product_count: int,
        event_weights: np.ndarray | None = None,
    ) -> sp.csr_matrix:
        """Customers × products: decayed frequency, each row scaled to a maximum of 1."""
        by_place = float(decay) ** np.minimum(self._steps_back(), 10_000)
        by_age = 0.5 ** (self.ages / half_life_days)
        weight = np.where(np.isnan(self.ages), by_place, by_age)
        if event_weights is not None:
            weight = weight * event_weights[self.events]
        matrix = self._matrix(weight, product_count)
        peaks = np.maximum(matrix.max(axis=1).toarray().ravel(), 1e-12)
        matrix.data /= np.repeat(peaks, np.diff(matrix.indptr))
        return matrix

    def seen(self, product_count: int) -> sp.csr_matrix:
        """Customers × products, 1 where the product is in the history."""
        matrix = self._matrix(np.ones(len(self.items)), product_count)
        matrix.data[:] = 1.0
        return matrix

    def repeat_share(self) -> float:
        """Share of the targets that their customer had taken before."""
        size = int(max(self.items.max(initial=0), self.targets.max(initial=0))) + 1
        everybody = np.arange(len(self))
        taken = np.repeat(everybody, np.diff(self.indptr)) * size + self.items
        wanted = np.repeat(everybody, np.diff(self.target_indptr)) * size + self.targets
        return float(np.isin(wanted, np.unique(taken)).mean()) if len(wanted) else 0.0

    def _matrix(self, weight: np.ndarray, product_count: int) -> sp.csr_matrix:
        matrix = sp.csr_matrix(
            (weight.astype(np.float32), self.items, self.indptr), shape=(len(self), product_count)
        )
        matrix.sum_duplicates()
        return matrix

    def _steps_back(self) -> np.ndarray:
        return np.repeat(self.indptr[1:], np.diff(self.indptr)) - 1 - np.arange(len(self.items))

    def _row_sums(self, values: np.ndarray) -> np.ndarray:
        rows = np.repeat(np.arange(len(self)), np.diff(self.indptr))
        return np.bincount(rows, weights=values, minlength=len(self))


def holdout_histories(
    prepared: Prepared, window: int, *, purchase_event: str, limit: int, seed: int
) -> Histories:
    """At most `limit` customers of that window (VALIDATION or TEST) who were seen before it.

    `limit` 0 takes all of them.
    """
    reference = prepared.meta["window"]["validation" if window == 1 else "test"]
    wanted = _target_rows(prepared, window, purchase_event)
    count = prepared.meta["customers"]
    before = prepared.split < window
    usable = np.flatnonzero(
        (np.bincount(prepared.customers[before], minlength=count) > 0)
        & (np.bincount(prepared.customers[wanted], minlength=count) > 0)
    )
    if limit and len(usable) > limit:
        chosen = np.random.default_rng(seed).choice(len(usable), size=limit, replace=False)
        usable = usable[np.sort(chosen)]
    place = np.full(count, -1)
    place[usable] = np.arange(len(usable))
    past = np.flatnonzero(before & (place[prepared.customers] >= 0))
    ages = np.full(len(past), np.nan)
    if reference is not None:
        ages = (reference - prepared.times[past]) / _DAY_SECONDS
    targets = _first_visits(prepared, wanted, place)
    return Histories(
        customers=usable,
        indptr=_indptr(place[prepared.customers[past]], len(usable)),
        items=prepared.items[past].astype(np.int64),
        ages=ages,
        events=prepared.events[past],
        target_indptr=_indptr(targets[:, 0], len(usable)),
        targets=targets[:, 1],
    )


def _indptr(rows: np.ndarray, count: int) -> np.ndarray:
    return np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=count))))


def _first_visits(prepared: Prepared, wanted: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Distinct (customer's place, item) of each customer's first wanted visit, sorted."""
    rows = np.flatnonzero(wanted & (place[prepared.customers] >= 0))
    customers, baskets = place[prepared.customers[rows]], prepared.baskets[rows]
    first = np.full(int(place.max(initial=-1)) + 1, -1, dtype=np.int64)
    first[customers[::-1]] = baskets[::-1]  # the earliest row is written last
    inside = baskets == first[customers]
    pairs = np.stack([customers[inside], prepared.items[rows][inside].astype(np.int64)], axis=1)
    return np.unique(pairs, axis=0)


def _target_rows(prepared: Prepared, window: int, purchase_event: str) -> np.ndarray:
    inside = prepared.split == window
    if purchase_event in prepared.meta["events"]:
        bought = prepared.events == prepared.meta["events"].index(purchase_event)
        if (inside & bought).any():
            return inside & bought
    return inside


def event_weight_array(names: list[str], weights: Mapping[str, float]) -> np.ndarray:
    """Weights by event code; an event that is not named weighs 1."""
    return np.array([weights.get(name, 1.0) for name in names] or [1.0])
