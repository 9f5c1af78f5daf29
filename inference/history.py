"""What a customer did, as the serving core reads it: weights, ages, repeats. Numpy only.

Runs in a Lambda; called by `inference.recommender`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache, lru_cache
from itertools import compress

import msgspec
import numpy as np

from inference.contracts import DEFAULT_EVENT, HistoryEvent
from inference.parameters import ServingParameters

SECONDS_PER_DAY = 86_400.0
NO_ITEMS = np.empty(0, dtype=np.int64)
NO_VALUES = np.empty(0)


class Distinct(msgspec.Struct, frozen=True):
    """Distinct items in order of their first place, and each event's place among them; None where
    every event has an item of its own."""

    items: np.ndarray
    place: np.ndarray | None

    @classmethod
    def of(cls, codes: list[int]) -> Distinct:
        distinct = list(dict.fromkeys(codes))
        if len(distinct) == len(codes):
            return cls(np.array(codes, dtype=np.int64), None)
        place_of = dict(zip(distinct, range(len(distinct)), strict=True))
        place = np.array(list(map(place_of.__getitem__, codes)), dtype=np.int64)
        return cls(np.array(distinct, dtype=np.int64), place)

    def sums(self, amounts: np.ndarray) -> np.ndarray:
        """The amounts of events, summed by item."""
        return amounts if self.place is None else np.bincount(self.place, amounts)


class History(msgspec.Struct, frozen=True):
    """Known events, oldest first: item codes, event weights, ages in days (nan without a time),
    which were purchases. `unknown` are the product ids that the model does not know."""

    codes: list[int]
    distinct: Distinct
    weights: np.ndarray
    ages: np.ndarray
    purchased: np.ndarray
    unknown: list[str]

    def items(self, which: np.ndarray) -> list[int]:
        """The codes of the events for which `which` is true."""
        return list(compress(self.codes, which.tolist()))


class Sources(msgspec.Struct, frozen=True):
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
    products = [event for event in events if isinstance(event, str)]
    full: list[HistoryEvent] = []
    if len(products) < len(events):
        full = [HistoryEvent(event) if isinstance(event, str) else event for event in events]
        products = [event.product_id for event in full]
    found = list(map(code_of.get, products))
    codes = [code for code in found if code is not None]
    unknown: list[str] = []
    if len(codes) < len(found):
        unknown = [product for product, code in zip(products, found, strict=True) if code is None]
        full = [full[at] for at, code in enumerate(found) if code is not None] if full else []
    weights = {**parameters.event_weights, **event_weights}
    if not full:
        return _plain(codes, unknown, weights, parameters)
    weight_of = weights.get
    default = parameters.default_event_weight
    return History(
        codes=codes,
        distinct=Distinct.of(codes),
        weights=np.array([weight_of(event.event, default) for event in full]),
        ages=_ages(full, epoch_seconds(now)),
        purchased=np.array([event.event == parameters.purchase_event for event in full]),
        unknown=unknown,
    )


def _plain(
    codes: list[int],
    unknown: list[str],
    event_weights: Mapping[str, float],
    parameters: ServingParameters,
) -> History:
    """A history of product ids alone: purchases without a time."""
    weight = event_weights.get(DEFAULT_EVENT, parameters.default_event_weight)
    purchases = parameters.purchase_event == DEFAULT_EVENT
    weights, ages, purchased = _untimed(len(codes), weight, purchases)
    return History(
        codes=codes,
        distinct=Distinct.of(codes),
        weights=weights,
        ages=ages,
        purchased=purchased,
        unknown=unknown,
    )


@lru_cache(maxsize=1024)
def _untimed(
    count: int, weight: float, purchased: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights, ages and purchases of events without a time."""
    return np.full(count, float(weight)), np.full(count, np.nan), np.full(count, purchased)


def _ages(events: Sequence[HistoryEvent], clock: float) -> np.ndarray:
    """Ages in days, nan for events without a time."""
    times = [event.timestamp for event in events]
    seconds = np.array([np.nan if time is None else epoch_seconds(time) for time in times])
    return np.maximum(clock - seconds, 0.0) / SECONDS_PER_DAY


def epoch_seconds(time: datetime) -> float:
    """A time without a zone is UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def history_sources(history: History, parameters: ServingParameters, *, lasting: bool) -> Sources:
    """The last `history_length` events as distinct products; `lasting` weights where wanted."""
    distinct, weights, length = history.distinct, history.weights, parameters.history_length
    if len(weights) > length:
        distinct, weights = Distinct.of(history.codes[-length:]), weights[-length:]

    def summed(decay: float, scale: float) -> np.ndarray:
        sums = distinct.sums(weights * _decays(decay, len(weights)))
        return _normalised(sums, scale * parameters.neighbours_weight, parameters.history_power)

    recent = summed(parameters.decay, 1.0)
    return Sources(
        items=distinct.items,
        recent=recent,
        lasting=summed(parameters.lasting_decay, parameters.lasting_weight)
        if lasting
        else np.zeros(len(recent)),
        kind="history",
    )


@cache
def _decays(decay: float, count: int) -> np.ndarray:
    """What events count by their place, oldest first; at most a thousand lengths of each."""
    return decay ** np.arange(count - 1, -1, -1, dtype=np.float64)


def _normalised(weights: np.ndarray, scale: float, power: float) -> np.ndarray:
    """`scale` times the weights, which are divided by their sum to the `power`."""
    total = float(weights.sum())
    return weights * (scale / total**power if total > 0 else scale)


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
    if weight == 0 or not history.codes:
        return NO_ITEMS, NO_VALUES
    by_place = _decays(parameters.repeat_decay, len(history.codes))
    by_age = 0.5 ** (history.ages / parameters.repeat_half_life_days)
    recency = history.weights * np.where(np.isnan(by_age), by_place, by_age)
    sums = history.distinct.sums(recency)
    peak = sums.max()
    return history.distinct.items, weight * sums / peak if peak > 0 else sums
