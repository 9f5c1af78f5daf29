"""What a customer did, as the serving core reads it: weights, ages, repeats. Numpy only.

Runs in a Lambda; called by `inference.recommender`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property

import numpy as np

from inference.contracts import DEFAULT_EVENT, HistoryEvent
from inference.parameters import ServingParameters

SECONDS_PER_DAY = 86_400.0
NO_ITEMS = np.empty(0, dtype=np.int64)
NO_VALUES = np.empty(0)


@dataclass(frozen=True)
class Distinct:
    """Distinct items in order of their first place, and each event's place among them; None where
    every event has an item of its own."""

    items: np.ndarray
    place: np.ndarray | None

    @classmethod
    def of(cls, items: np.ndarray) -> Distinct:
        codes = items.tolist()
        distinct = list(dict.fromkeys(codes))
        if len(distinct) == len(codes):
            return cls(items, None)
        place_of = dict(zip(distinct, range(len(distinct)), strict=True))
        place = np.array(list(map(place_of.__getitem__, codes)), dtype=np.int64)
        return cls(np.array(distinct, dtype=np.int64), place)

    def sums(self, amounts: np.ndarray) -> np.ndarray:
        """The amounts of events, summed by item."""
        return amounts if self.place is None else np.bincount(self.place, amounts)


@dataclass(frozen=True)
class History:
    """Known events, oldest first: item codes, event weights, ages in days (nan without a time),
    which were purchases. `unknown` are the product ids that the model does not know."""

    items: np.ndarray
    weights: np.ndarray
    ages: np.ndarray
    purchased: np.ndarray
    unknown: list[str]

    @cached_property
    def distinct(self) -> Distinct:
        """The distinct items of all events."""
        return Distinct.of(self.items)


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
    # Most histories are known product ids alone; an event in full is no key of the codes.
    codes = list(map(code_of.get, events))  # type: ignore[arg-type]
    full: list[HistoryEvent] = []
    unknown: list[str] = []
    if None in codes:
        products = [event if isinstance(event, str) else event.product_id for event in events]
        if not all(isinstance(event, str) for event in events):
            full = [HistoryEvent(event) if isinstance(event, str) else event for event in events]
        codes = [code_of.get(product) for product in products]
    if None in codes:
        known = [at for at, code in enumerate(codes) if code is not None]
        unknown = [product for product, code in zip(products, codes, strict=True) if code is None]
        codes = [codes[at] for at in known]
        full = [full[at] for at in known] if full else []
    items = np.array(codes, dtype=np.int64)
    weights = {**parameters.event_weights, **event_weights}
    if not full:
        return _plain(items, unknown, weights, parameters)
    weight_of = weights.get
    default = parameters.default_event_weight
    return History(
        items=items,
        weights=np.array([weight_of(event.event, default) for event in full]),
        ages=_ages(full, epoch_seconds(now)),
        purchased=np.array([event.event == parameters.purchase_event for event in full]),
        unknown=unknown,
    )


def _plain(
    items: np.ndarray,
    unknown: list[str],
    event_weights: Mapping[str, float],
    parameters: ServingParameters,
) -> History:
    """A history of product ids alone: purchases without a time."""
    count = len(items)
    weight = event_weights.get(DEFAULT_EVENT, parameters.default_event_weight)
    ages, purchased = _untimed(count, parameters.purchase_event == DEFAULT_EVENT)
    return History(
        items=items,
        weights=np.full(count, weight),
        ages=ages,
        purchased=purchased,
        unknown=unknown,
    )


@cache
def _untimed(count: int, purchased: bool) -> tuple[np.ndarray, np.ndarray]:
    """Ages and purchases of events without a time; at most a thousand lengths of each."""
    return np.full(count, np.nan), np.full(count, purchased)


def _ages(events: Sequence[HistoryEvent], clock: float) -> np.ndarray:
    """Ages in days, nan for events without a time."""
    times = [event.timestamp for event in events]
    return np.array([np.nan if time is None else _age_days(time, clock) for time in times])


def epoch_seconds(time: datetime) -> float:
    """A time without a zone is UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def _age_days(time: datetime, clock: float) -> float:
    return max(0.0, clock - epoch_seconds(time)) / SECONDS_PER_DAY


def history_sources(history: History, parameters: ServingParameters, *, lasting: bool) -> Sources:
    """The last `history_length` events as distinct products; `lasting` weights where wanted."""
    last = history.items[-parameters.history_length :]
    whole = len(last) == len(history.items)
    distinct = history.distinct if whole else Distinct.of(last)
    weights = history.weights[-parameters.history_length :]

    def summed(decay: float) -> np.ndarray:
        return _normalised(distinct.sums(weights * _decays(decay, len(last))), parameters)

    recent = parameters.neighbours_weight * summed(parameters.decay)
    scale = parameters.neighbours_weight * parameters.lasting_weight
    return Sources(
        items=distinct.items,
        recent=recent,
        lasting=scale * summed(parameters.lasting_decay) if lasting else np.zeros(len(recent)),
        kind="history",
    )


@cache
def _decays(decay: float, count: int) -> np.ndarray:
    """What events count by their place, oldest first; at most a thousand lengths of each."""
    return decay ** np.arange(count - 1, -1, -1, dtype=np.float64)


def _normalised(weights: np.ndarray, parameters: ServingParameters) -> np.ndarray:
    total = float(weights.sum())
    return weights / total**parameters.history_power if total > 0 else weights


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
    by_place = _decays(parameters.repeat_decay, len(history.items))
    by_age = 0.5 ** (history.ages / parameters.repeat_half_life_days)
    recency = history.weights * np.where(np.isnan(by_age), by_place, by_age)
    sums = history.distinct.sums(recency)
    peak = sums.max()
    return history.distinct.items, weight * sums / peak if peak > 0 else sums
