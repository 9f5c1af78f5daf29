"""Customers with a history before a window and what they took first within it.

The protocol of every evaluation here: the history is all before the window, the targets are the
customer's first visit in it (purchases where there are any).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from training.recommendation.prepare import Prepared

_DAY_SECONDS = 86_400.0


@dataclass(frozen=True)
class Histories:
    """One entry a customer: item codes oldest first, ages in days (nan without times), targets."""

    items: list[np.ndarray]
    ages: list[np.ndarray]
    events: list[np.ndarray]
    targets: list[np.ndarray]

    def __len__(self) -> int:
        return len(self.items)

    def block(self, start: int, stop: int) -> Histories:
        return Histories(
            self.items[start:stop],
            self.ages[start:stop],
            self.events[start:stop],
            self.targets[start:stop],
        )

    def weights(self, decay: float, length: int, product_count: int) -> sp.csr_matrix:
        """Customers × products: decayed weights of the last `length` events, rows sum to 1."""
        rows, columns, values = [], [], []
        for row, items in enumerate(self.items):
            recent = items[-length:]
            weight = decay ** np.arange(len(recent) - 1, -1, -1)
            rows.append(np.full(len(recent), row))
            columns.append(recent)
            values.append(weight / weight.sum())
        return sp.csr_matrix(
            (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
            shape=(len(self), product_count),
        )

    def recency(self, half_life_days: float, decay: float, product_count: int) -> np.ndarray:
        """Customers × products: decayed frequency, each row scaled to a maximum of 1."""
        result = np.zeros((len(self), product_count))
        for row, (items, ages) in enumerate(zip(self.items, self.ages, strict=True)):
            by_place = decay ** np.arange(len(items) - 1, -1, -1)
            by_age = 0.5 ** (ages / half_life_days)
            weight = np.where(np.isnan(ages), by_place, by_age)
            sums = np.bincount(items, weights=weight, minlength=product_count)
            result[row] = sums / sums.max()
        return result

    def seen_mask(self, product_count: int) -> np.ndarray:
        return _mask(self.items, product_count)

    def target_mask(self, product_count: int) -> np.ndarray:
        return _mask(self.targets, product_count)


def _mask(lists: list[np.ndarray], product_count: int) -> np.ndarray:
    mask = np.zeros((len(lists), product_count), dtype=bool)
    for row, items in enumerate(lists):
        mask[row, items] = True
    return mask


def holdout_histories(
    prepared: Prepared, window: int, *, purchase_event: str, limit: int, seed: int
) -> Histories:
    """At most `limit` customers of that window (VALIDATION or TEST) who were seen before it."""
    reference = prepared.meta["window"]["validation" if window == 1 else "test"]
    wanted = _target_rows(prepared, window, purchase_event)
    starts = np.flatnonzero(np.diff(prepared.customers, prepend=-1))
    spans = list(zip(starts, [*starts[1:], len(prepared.customers)], strict=True))
    usable = [
        (start, stop)
        for start, stop in spans
        if (prepared.split[start:stop] < window).any() and wanted[start:stop].any()
    ]
    if len(usable) > limit:
        chosen = np.random.default_rng(seed).choice(len(usable), size=limit, replace=False)
        usable = [usable[index] for index in np.sort(chosen)]
    histories = Histories([], [], [], [])
    for start, stop in usable:
        _append(histories, prepared, slice(start, stop), window, wanted, reference)
    return histories


def _target_rows(prepared: Prepared, window: int, purchase_event: str) -> np.ndarray:
    inside = prepared.split == window
    if purchase_event in prepared.meta["events"]:
        bought = prepared.events == prepared.meta["events"].index(purchase_event)
        if (inside & bought).any():
            return inside & bought
    return inside


def _append(
    histories: Histories,
    prepared: Prepared,
    rows: slice,
    window: int,
    wanted: np.ndarray,
    reference: int | None,
) -> None:
    before = prepared.split[rows] < window
    first = np.flatnonzero(wanted[rows])[0]
    visit = wanted[rows] & (prepared.baskets[rows] == prepared.baskets[rows][first])
    times = prepared.times[rows][before]
    ages = (
        (reference - times) / _DAY_SECONDS if reference is not None else np.full(len(times), np.nan)
    )
    histories.items.append(prepared.items[rows][before].astype(np.int64))
    histories.ages.append(ages)
    histories.events.append(prepared.events[rows][before])
    histories.targets.append(np.unique(prepared.items[rows][visit]))
