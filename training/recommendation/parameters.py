"""Everything about a recommender that is tuned, as plain data."""

from __future__ import annotations

import msgspec

from inference.parameters import ServingParameters

HISTORY_LENGTH = 1000
RERANK_CANDIDATES = 500
TYPICAL_EVENTS = 10
RECENT, LASTING = "recent", "lasting"
TRANSITIONS, CUSTOMERS, BASKETS = "transitions", "customers", "baskets"
SPECTRAL, CONTENT, IMAGES = "spectral", "content", "images"
PARTS = (TRANSITIONS, CUSTOMERS, BASKETS, SPECTRAL, CONTENT, IMAGES)


class TransitionParameters(msgspec.Struct, frozen=True):
    decay: float = 0.85
    backward: float = 0.2
    row_power: float = 0.3
    column_power: float = 0.05


class CooccurrenceParameters(msgspec.Struct, frozen=True):
    group_power: float = 0.5
    row_power: float = 0.5
    column_power: float = 0.5


class SpectralParameters(msgspec.Struct, frozen=True):
    customer_power: float = 0.35
    item_power: float = 0.45
    rank: int = 256


class ContentParameters(msgspec.Struct, frozen=True):
    idf_power: float = 1.0
    popularity: float = 0.1


class ImageParameters(msgspec.Struct, frozen=True):
    popularity: float = 0.1


class NewcomerParameters(msgspec.Struct, frozen=True):
    """Products without history score `scale` times what the products most like them do; the
    likeness is that of images by the share `images`, of attributes and words by the rest."""

    scale: float = 0.0
    images: float = 0.0


class Parameters(msgspec.Struct, frozen=True):
    """`recent` and `lasting` are the weights of the parts in the two memories, which forget by
    `decay` and `lasting_decay` per step back; a part that is not named weighs nothing."""

    recent: dict[str, float] = {}
    lasting: dict[str, float] = {}
    decay: float = 0.8
    lasting_decay: float = 0.98
    history_power: float = 1.0
    repeat_weight: float = 0.0
    repeat_half_life_days: float = 90.0
    repeat_decay: float = 0.98
    trend_weight: float = 0.01
    new_trend_weight: float = 0.01
    trend_half_life_days: float = 30.0
    factor_weight: float = 0.0
    exclude_seen: bool = False
    event_weights: dict[str, float] = {}
    transitions: TransitionParameters = TransitionParameters()
    customers: CooccurrenceParameters = CooccurrenceParameters()
    baskets: CooccurrenceParameters = CooccurrenceParameters()
    spectral: SpectralParameters = SpectralParameters()
    content: ContentParameters = ContentParameters()
    images: ImageParameters = ImageParameters()
    newcomers: NewcomerParameters = NewcomerParameters()

    def memory_decay(self, memory: str) -> float:
        return self.decay if memory == RECENT else self.lasting_decay

    def memory_scale(self, memory: str) -> float:
        """What the history's weights are multiplied by, so that a change of `history_power` leaves
        a history of `TYPICAL_EVENTS` where it was."""
        decay = self.memory_decay(memory)
        return float(sum(decay**step for step in range(TYPICAL_EVENTS)) ** (self.history_power - 1))

    def weight(self, part: str) -> float:
        """A part's weight in both memories together."""
        return self.recent.get(part, 0.0) + self.lasting.get(part, 0.0)


def serving_parameters(
    parameters: Parameters, *, purchase_event: str, factor_alpha: float
) -> ServingParameters:
    """The part of the choice that the serving core needs. The parts' weights are in the matrix."""
    scale = parameters.memory_scale(RECENT)
    return ServingParameters(
        neighbours_weight=scale,
        lasting_weight=parameters.memory_scale(LASTING) / scale,
        lasting_decay=parameters.lasting_decay,
        history_power=parameters.history_power,
        factor_weight=parameters.factor_weight,
        factor_alpha=factor_alpha,
        rerank_candidates=RERANK_CANDIDATES,
        repeat_weight=parameters.repeat_weight,
        trend_weight=parameters.trend_weight,
        new_trend_weight=None if parameters.exclude_seen else parameters.new_trend_weight,
        decay=parameters.decay,
        history_length=HISTORY_LENGTH,
        repeat_half_life_days=parameters.repeat_half_life_days,
        repeat_decay=parameters.repeat_decay,
        purchase_event=purchase_event,
        exclude_seen=parameters.exclude_seen,
        event_weights=parameters.event_weights,
    )
