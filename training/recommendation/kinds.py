"""What kind of data it is: with times, in order, or plain sets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

TIMED, ORDERED, SET = "timed", "ordered", "set"
_SORTED_SHARE = 0.98
_LEAST_PAIRS = 100
_SAMPLE = 2_000_000


def kind_of(customers: np.ndarray, items: np.ndarray, product_ids: Sequence[str]) -> str:
    """ORDERED or SET, of data without times; `customers` sorted, `items` in the order given.

    Lists sorted by id carry no order, and neither do those in which the same pair of neighbours
    comes up no more often than after shuffling each customer's list.
    """
    customers, items = customers[:_SAMPLE], items[:_SAMPLE]
    if _is_sorted(customers, items, product_ids):
        return SET
    shuffled = items[np.lexsort((np.random.default_rng(0).random(len(items)), customers))]
    repeated = _repeated_pairs(customers, items)
    by_chance = _repeated_pairs(customers, shuffled)
    unordered = repeated + by_chance >= _LEAST_PAIRS and repeated <= 1.05 * by_chance
    return SET if unordered else ORDERED


def _is_sorted(customers: np.ndarray, items: np.ndarray, product_ids: Sequence[str]) -> bool:
    """Whether almost every step of almost every list goes up, as text or as numbers."""
    same = np.diff(customers) == 0
    if same.sum() < _LEAST_PAIRS:
        return False
    ranks = [items]
    names = [str(product) for product in product_ids]
    if all(name.isdecimal() for name in names):
        ranks.append(np.array([float(name) for name in names])[items])
    return any(
        share >= _SORTED_SHARE or share <= 1 - _SORTED_SHARE
        for share in (float((np.diff(rank)[same] > 0).mean()) for rank in ranks)
    )


def _repeated_pairs(customers: np.ndarray, items: np.ndarray) -> int:
    """How many neighbouring pairs (in order) had come up before."""
    same = np.diff(customers) == 0
    pairs = items[:-1][same].astype(np.int64) * (int(items.max()) + 1) + items[1:][same]
    return len(pairs) - len(np.unique(pairs))
