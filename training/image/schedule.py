"""How long a training is, in what steps, and how fast it learns at each."""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.image.configuration import ImageConfiguration

_BATCH = 256
_LEAST_BATCH = 32
_STEPS_AN_EPOCH = 50
_PICTURES = 1_020_000  # of a large set: 17 epochs of 60,000, of which pruning shows two thirds
_EPOCHS = (17, 27)
_LEAST_STEPS = 400  # a small set is seen more often: a few dozen steps teach nothing
_PRUNED_FROM = 20_000  # half of 3,000 pictures, shown more often, taught .02 accuracy less
_WARM_UP = 0.25
_FIRST, _LAST = 0.1, 1e-4  # of the highest learning rate


@dataclass(frozen=True)
class Plan:
    """What the configuration leaves to the data. `batch` is of all processes together, `steps` of
    an epoch that shows every picture; `prunes`: whether there are pictures to spare."""

    epochs: int
    batch: int
    steps: int
    prunes: bool


def plan_of(pictures: int, configuration: ImageConfiguration) -> Plan:
    """Epochs, batch and steps for so many training pictures."""
    derived = 2 ** round(math.log2(max(pictures / _STEPS_AN_EPOCH, 1)))
    batch = configuration.batch_size or min(_BATCH, max(_LEAST_BATCH, derived))
    batch = max(2, min(batch, pictures))
    steps = max(1, pictures // batch)
    shown = min(_EPOCHS[1], max(_EPOCHS[0], _PICTURES // pictures))
    epochs = configuration.epochs or max(shown, math.ceil(_LEAST_STEPS / steps))
    return Plan(epochs, batch, steps, prunes=pictures >= _PRUNED_FROM)


def one_cycle(share: float) -> float:
    """The learning rate, as a part of the highest, when `share` of the training is done: up in a
    quarter of it, then down, both by half a cosine (Smith & Topin 2017)."""
    if share < _WARM_UP:
        return _FIRST + (1 - _FIRST) * (1 - math.cos(math.pi * share / _WARM_UP)) / 2
    fall = (share - _WARM_UP) / (1 - _WARM_UP)
    return _LAST + (1 - _LAST) * (1 + math.cos(math.pi * fall)) / 2
