"""What a customer did, as the serving core reads it: weights, ages, repeats. Numpy only.

Runs in a Lambda; called by `inference.recommender`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from inference.contracts import DEFAULT_EVENT, HistoryEvent
from inference.parameters import ServingParameters

SECONDS_PER_DAY = 86_400.0
NO_ITEMS = np.empty(0, dtype=np.int64)
NO_VALUES = np.empty(0)


@dataclass(frozen=True)
class History:
    """Known events, oldest first: item codes, event weights, ages in days (nan without a time),
    which were purchases. `unknown` are the product ids that the model does not know."""

    items: np.ndarray
    weights: np.ndarray
    ages: np.ndarray
    purchased: np.ndarray
    unknown: list[str]


@dataclass(frozen=True)
class Sources:
    """Distinct products whose neighbours are recommended, with their weights per value set."""

    items: np.ndarray
    recent: np.ndarray
    lasting: np.ndarray
    kind: str


def read_history(
    events: Sequence[str | HistoryEvent],
    code_of: Mapping[str, int],
    *,
    event_weights: Mapping[str, float],
    parameters: ServingParameters,
    now: datetime,
) -> History:
    """The events of a request. `event_weights` go before the model's own."""
    clock, nan = epoch_seconds(now), float("nan")
    items, kinds, ages, unknown = [], [], [], []
    for event in events:
        if isinstance(event, str):
            product, kind, age = event, DEFAULT_EVENT, nan
        else:
            product, kind, time = event.product_id, event.event, event.timestamp
            age = nan if time is None else _age_days(time, clock)
        code = code_of.get(product)
        if code is None:
            unknown.append(product)
            continue
        items.append(code)
        kinds.append(kind)
        ages.append(age)
    known = {**parameters.event_weights, **event_weights}
    weight_of = {kind: known.get(kind, parameters.default_event_weight) for kind in set(kinds)}
    bought = parameters.purchase_event
    return History(
        items=np.array(items, dtype=np.int64),
        weights=np.array([weight_of[kind] for kind in kinds], dtype=np.float64),
        ages=np.array(ages, dtype=np.float64),
        purchased=np.array([kind == bought for kind in kinds], dtype=bool),
        unknown=unknown,
    )


def epoch_seconds(time: datetime) -> float:
    """A time without a zone is UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _age_days(time: datetime, clock: float) -> float:
    return max(0.0, clock - epoch_seconds(time)) / SECONDS_PER_DAY


def history_sources(history: History, parameters: ServingParameters) -> Sources:
    """The last `history_length` events as distinct products."""
    items = history.items[-parameters.history_length :]
    steps_back = np.arange(len(items) - 1, -1, -1)
    weights = history.weights[-parameters.history_length :]
    places: dict[int, int] = {}
    place = [places.setdefault(item, len(places)) for item in items.tolist()]
    sums = [
        _normalised(np.bincount(place, weights=weights * decay**steps_back), parameters)
        for decay in (parameters.decay, parameters.lasting_decay)
    ]
    return Sources(
        items=np.array(list(places), dtype=np.int64),
        recent=parameters.neighbours_weight * sums[0],
        lasting=parameters.neighbours_weight * parameters.lasting_weight * sums[1],
        kind="history",
    )


def _normalised(weights: np.ndarray, parameters: ServingParameters) -> np.ndarray:
    total = weights.sum() if parameters.normalise_history else 1.0
    return weights / total if total > 0 else weights


def context_sources(items: Sequence[int], parameters: ServingParameters) -> Sources:
    """Products being looked at, or in the basket: each counts the same."""
    recent = np.full(len(items), parameters.neighbours_weight / max(1, len(items)))
    return Sources(
        items=np.array(items, dtype=np.int64),
        recent=recent,
        lasting=recent * parameters.lasting_weight,
        kind="context",
    )


def similar_sources(items: Sequence[int], *, lasting: bool) -> Sources:
    """Products whose likes are wanted. What lasts is what tells likeness; the steps from one
    product to the next stand in where a model has nothing else."""
    ones, zeros = np.ones(len(items)), np.zeros(len(items))
    return Sources(
        items=np.array(items, dtype=np.int64),
        recent=zeros if lasting else ones,
        lasting=ones if lasting else zeros,
        kind="similar",
    )


def repeat_part(
    history: History, parameters: ServingParameters, *, weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct products of the history and `weight` × their recency, the largest being 1."""
    if weight == 0 or len(history.items) == 0:
        return NO_ITEMS, NO_VALUES
    steps_back = np.arange(len(history.items) - 1, -1, -1)
    by_place = parameters.repeat_decay**steps_back
    by_age = 0.5 ** (history.ages / parameters.repeat_half_life_days)
    recency = history.weights * np.where(np.isnan(history.ages), by_place, by_age)
    items, place = np.unique(history.items, return_inverse=True)
    sums = np.bincount(place, weights=recency)
    peak = sums.max()
    return items, weight * sums / peak if peak > 0 else sums
