"""The live policy on this run's log: only on decisions it has not learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from inference.features import Feature
from inference.policy import Policy
from training.nudge.prepare import Prepared

_FEWEST = 500


@dataclass(frozen=True)
class ChampionView:
    """`rows` int and `probabilities` (len(rows), K) over this run's actions; None with a `note`
    that says why the champion could not be valued."""

    note: str
    rows: np.ndarray | None
    probabilities: np.ndarray


def champion_probabilities(champion: Policy, prepared: Prepared) -> ChampionView:
    """What the live policy would have drawn in the decisions since it was trained."""
    none = np.zeros((0, len(prepared.names)))
    rows = np.flatnonzero(prepared.times > champion.manifest["data"]["end"])
    if len(rows) < _FEWEST:
        note = f"{len(rows):,} decisions since it was trained, {_FEWEST} are needed to value it"
        return ChampionView(note, None, none)
    shared = [name for name in champion.actions if name in prepared.names]
    theirs = [champion.actions.index(name) for name in shared]
    ours = [prepared.names.index(name) for name in shared]
    possible = _possible(prepared, rows)[:, ours] if ours else np.zeros((len(rows), 0), dtype=bool)
    if not possible.any(axis=1).all():
        return ChampionView("it knows none of the actions of some decisions", None, none)
    mask = np.zeros((len(rows), len(champion.actions)), dtype=bool)
    mask[:, theirs] = possible
    columns = decode_columns(prepared, rows)
    contexts = champion.encoder.encode_columns(columns, len(rows))
    probabilities = np.zeros((len(rows), len(prepared.names)))
    probabilities[:, ours] = champion.distribution(contexts, eligible=mask)[:, theirs]
    note = f"on the {len(rows):,} decisions since it was trained"
    return ChampionView(note, rows, probabilities)


def _possible(prepared: Prepared, rows: np.ndarray) -> np.ndarray:
    if prepared.eligible is None:
        return np.ones((len(rows), len(prepared.names)), dtype=bool)
    return np.asarray(prepared.eligible[rows])


def decode_columns(
    prepared: Prepared, rows: np.ndarray
) -> dict[str, np.ndarray | Sequence[str | None]]:
    """The context's columns back from the encoded ones; unseen categories come out missing."""
    features = msgspec.convert(prepared.meta["features"], list[Feature])
    return {f.name: _decoded(f, prepared.contexts[rows]) for f in features}


def _decoded(feature: Feature, contexts: np.ndarray) -> np.ndarray | list[str | None]:
    block = contexts[:, feature.start : feature.start + feature.width]
    if feature.type == "category":
        values = [*feature.values, None]
        return [values[code] for code in block.argmax(axis=1).tolist()]
    numbers = block[:, 0] * feature.scale + feature.mean
    if feature.marks_missing:
        numbers = np.where(block[:, -1] > 0, np.nan, numbers)
    return numbers
