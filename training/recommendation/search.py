"""The moves of the search: which parameters, which values, in which order.

A move proposes values near the present one; the tuner keeps whatever is better on validation. The
values are the same for every data set.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from msgspec.structs import replace

from training.recommendation.parameters import (
    BASKETS,
    CONTENT,
    CUSTOMERS,
    IMAGES,
    LASTING,
    RECENT,
    SPECTRAL,
    TRANSITIONS,
    Parameters,
    SpectralParameters,
)

Redone = Literal["nothing", "part", "everything"]
_NEW_WEIGHTS = (0.1, 0.3, 1.0)
_NEW_AMOUNTS = (0.01, 0.03, *_NEW_WEIGHTS, 3.0)
_AMOUNT_FACTORS = (0.0, 0.3, 0.6, 1.6, 3.0)
_COARSE, _FINE = (0.0, 0.5, 0.7, 1.4, 2.0), (0.0, 0.7, 0.85, 1.18, 1.4)
_COOCCURRENCE = {
    "column_power": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8),
    "group_power": (0.0, 0.25, 0.5, 0.7, 0.85, 1.0),
    "row_power": (0.0, 0.15, 0.3, 0.5, 0.7),
}
GRIDS: dict[str, dict[str, tuple[float, ...]]] = {
    TRANSITIONS: {
        "decay": (0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95),
        "backward": (0.0, 0.1, 0.2, 0.35, 0.6, 1.0),
        "row_power": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7),
        "column_power": (0.0, 0.05, 0.1, 0.2, 0.3, 0.4),
    },
    CUSTOMERS: _COOCCURRENCE,
    BASKETS: _COOCCURRENCE,
    CONTENT: {
        "popularity": (0.0, 0.05, 0.1, 0.2, 0.35, 0.5),
        "idf_power": (0.5, 1.0, 1.5, 2.0),
    },
    IMAGES: {"popularity": (0.0, 0.05, 0.1, 0.2, 0.35, 0.5)},
    SPECTRAL: {
        "customer_power": (0.2, 0.35, 0.5, 0.65),
        "item_power": (0.35, 0.45, 0.55),
    },
}
VALUES: dict[str, tuple[float, ...]] = {
    "decay": (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0),
    "lasting_decay": (0.8, 0.9, 0.95, 0.98, 0.99, 1.0),
    "history_power": (0.0, 0.25, 0.5, 0.75, 1.0),
    "repeat_half_life_days": (10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 135.0, 200.0, 365.0),
    "repeat_decay": (0.8, 0.9, 0.95, 0.98, 1.0),
    "trend_half_life_days": (3.5, 7.0, 14.0, 30.0, 60.0, 120.0, 3650.0),
}
EVENT_WEIGHTS = (0.0, 0.1, 0.3, 0.6, 1.0, 2.0)


class Move(ABC):
    """A change of one parameter. `goes_on` says whether a gain is followed in its direction;
    `redoes` what a trial of it has to compute anew."""

    goes_on: ClassVar[bool] = True
    redoes: Redone

    @property
    @abstractmethod
    def label(self) -> str:
        """What it changes, for the report."""

    @abstractmethod
    def candidates(self, parameters: Parameters) -> Iterator[Parameters]:
        """Parameters with this one changed, nearest first."""


@dataclass(frozen=True)
class WeightMove(Move):
    """What a part weighs in a memory."""

    goes_on: ClassVar[bool] = False
    memory: str
    part: str
    factors: tuple[float, ...]
    redoes: Redone = "nothing"

    @property
    def label(self) -> str:
        return f"{self.memory}.{self.part}"

    def candidates(self, parameters: Parameters) -> Iterator[Parameters]:
        weights = getattr(parameters, self.memory)
        present = weights.get(self.part, 0.0)
        values = [present * factor for factor in self.factors] if present else _NEW_WEIGHTS
        for value in values:
            changed = {part: weight for part, weight in weights.items() if part != self.part}
            if value:
                changed[self.part] = round(value, 5)
            yield replace(parameters, **{self.memory: changed})


@dataclass(frozen=True)
class EventMove(Move):
    """What an event weighs in a history."""

    goes_on: ClassVar[bool] = False
    event: str
    redoes: Redone = "everything"

    @property
    def label(self) -> str:
        return f"event_weights.{self.event}"

    def candidates(self, parameters: Parameters) -> Iterator[Parameters]:
        for value in EVENT_WEIGHTS:
            weights = {**parameters.event_weights, self.event: value}
            yield replace(parameters, event_weights=weights)


@dataclass(frozen=True)
class PartMove(Move):
    """A parameter inside a part, which makes it fit anew."""

    part: str
    field: str
    grid: tuple[float, ...]
    redoes: Redone = "part"

    @property
    def label(self) -> str:
        return f"{self.part}.{self.field}"

    def candidates(self, parameters: Parameters) -> Iterator[Parameters]:
        inner = getattr(parameters, self.part)
        for value in _beside(getattr(inner, self.field), self.grid):
            yield replace(parameters, **{self.part: replace(inner, **{self.field: value})})


@dataclass(frozen=True)
class SwitchMove(Move):
    """Whether what was seen is left out."""

    goes_on: ClassVar[bool] = False
    redoes: Redone = "nothing"

    @property
    def label(self) -> str:
        return "exclude_seen"

    def candidates(self, parameters: Parameters) -> Iterator[Parameters]:
        yield replace(parameters, exclude_seen=not parameters.exclude_seen)


@dataclass(frozen=True)
class AmountMove(Move):
    """What the trend or the repeats weigh beside the parts."""

    name: str
    redoes: Redone = "nothing"

    @property
    def label(self) -> str:
        return self.name

    def candidates(self, parameters: Parameters) -> Iterator[Parameters]:
        present = getattr(parameters, self.name)
        values = [present * factor for factor in _AMOUNT_FACTORS] if present else _NEW_AMOUNTS
        for value in values:
            yield replace(parameters, **{self.name: value})


@dataclass(frozen=True)
class GridMove(Move):
    """How fast something is forgotten."""

    name: str
    redoes: Redone = "everything"

    @property
    def label(self) -> str:
        return self.name

    def candidates(self, parameters: Parameters) -> Iterator[Parameters]:
        for value in _beside(getattr(parameters, self.name), VALUES[self.name]):
            yield replace(parameters, **{self.name: value})


def _beside(present: float, grid: tuple[Any, ...]) -> Iterator[Any]:
    """The two values of the grid on either side of the present one."""
    yield from [value for value in grid if value < present][-1:]
    yield from [value for value in grid if value > present][:1]


def memory_of(part: str, *, kind: str) -> str:
    """The memory in which a part says most: what follows what is of the moment, taste lasts."""
    return LASTING if kind != "set" and part in (CUSTOMERS, SPECTRAL) else RECENT


def weight_moves(available: tuple[str, ...], *, kind: str, repeats: bool, fine: bool) -> list[Move]:
    """The cheap moves: what every part weighs, beside repeats and trend."""
    factors = _FINE if fine else _COARSE
    memories = (RECENT,) if kind == "set" else (RECENT, LASTING)
    moves: list[Move] = [
        WeightMove(memory, part, factors) for part in available for memory in memories
    ]
    moves.append(AmountMove("trend_weight"))
    if repeats:
        moves += [AmountMove("new_trend_weight"), AmountMove("repeat_weight"), SwitchMove()]
    return moves


def inner_moves(
    parameters: Parameters,
    available: tuple[str, ...],
    *,
    kind: str,
    repeats: bool,
    events: list[str],
    ranks: tuple[int, ...],
) -> list[Move]:
    """The moves that fit a part anew, of the parts in use, the heaviest first."""
    used = sorted(
        (p for p in available if parameters.weight(p) > 0), key=lambda p: -parameters.weight(p)
    )
    moves: list[Move] = []
    if kind != "set":
        moves.append(GridMove("decay"))
        moves += [GridMove("lasting_decay")] if parameters.lasting else []
    moves.append(GridMove("history_power"))
    moves += [EventMove(event) for event in events]
    for part in used:
        moves += [PartMove(part, "rank", ranks)] if part == SPECTRAL else []
        moves += [PartMove(part, field, grid) for field, grid in GRIDS[part].items()]
    if kind == "timed" and parameters.trend_weight > 0:
        moves.append(GridMove("trend_half_life_days", redoes="nothing"))
    if repeats and parameters.repeat_weight > 0 and not parameters.exclude_seen:
        moves.append(GridMove("repeat_half_life_days" if kind == "timed" else "repeat_decay"))
    return moves


def starting_point(
    available: tuple[str, ...], *, kind: str, repeat_share: float, ranks: tuple[int, ...], seed: int
) -> Parameters:
    """Where the search begins. A `seed` above 0 begins elsewhere, for searches side by side."""
    weights = {
        "set": ({CUSTOMERS: 0.5, SPECTRAL: 1.0, CONTENT: 0.05}, {}),
        "ordered": ({TRANSITIONS: 1.0, CONTENT: 0.3}, {CUSTOMERS: 0.2}),
        "timed": ({TRANSITIONS: 0.3, BASKETS: 0.3, CONTENT: 0.1}, {CUSTOMERS: 1.0}),
    }[kind]
    generator = np.random.default_rng(seed)
    recent, lasting = (
        {
            part: _shaken(weight, generator, seed)
            for part, weight in memory.items()
            if part in available
        }
        for memory in weights
    )
    return Parameters(
        recent=recent,
        lasting=lasting,
        decay=1.0 if kind == "set" else 0.8,
        exclude_seen=repeat_share < 0.005,
        repeat_weight=0.0 if repeat_share < 0.005 else 1.0,
        trend_weight=0.1 if kind == "timed" else 0.01,
        new_trend_weight=0.1 if kind == "timed" else 0.01,
        spectral=SpectralParameters(rank=ranks[-1] if ranks else 0),
    )


def _shaken(weight: float, generator: np.random.Generator, seed: int) -> float:
    return weight if seed == 0 else float(round(weight * 2.0 ** generator.normal(), 4))
