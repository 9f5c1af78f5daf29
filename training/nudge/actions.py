"""Which actions a run is about: chosen, priced, and when each could have been drawn."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import pandas as pd

from inference.guardrail_rules import NONE, ActionSpec, as_utc
from training.errors import ConfigurationError
from training.nudge.configuration import NudgeConfiguration
from training.nudge.tables import DIVIDER, ELIGIBLE, NudgeDataset

_ALL_BUT_NONE = "*"
_SAME = 1e-6


@dataclass(frozen=True)
class ChosenActions:
    """The log kept to the chosen actions. `propensities` (n,) are given that one was drawn."""

    nudges: pd.DataFrame
    specs: list[ActionSpec]
    propensities: np.ndarray
    notes: tuple[str, ...]


def chosen_actions(dataset: NudgeDataset, configuration: NudgeConfiguration) -> ChosenActions:
    """The log and actions a configuration asks for. Raises `ConfigurationError`."""
    specs = _priced(dataset.actions, configuration.costs)
    frame, notes = dataset.nudges, []
    propensities = frame["propensity"].to_numpy(dtype=np.float64)
    if configuration.actions:
        names = _known(configuration.actions.split(","), specs, key="actions")
        specs = [spec for spec in specs if spec.action in names]
        kept = frame["action"].isin(names).to_numpy()
        propensities = _given_chosen(frame, names)[kept]
        frame = frame[kept].reset_index(drop=True)
        notes.append(f"kept {kept.sum():,} of {len(kept):,} decisions: those of {', '.join(names)}")
    return _ordered(frame, specs, propensities, notes)


def _ordered(
    frame: pd.DataFrame, specs: Sequence[ActionSpec], propensities: np.ndarray, notes: list[str]
) -> ChosenActions:
    """Logged actions first: where values tie the earlier one is drawn, and new ones are unknown."""
    logged = set(frame["action"])
    if len(logged) < 2:
        raise ConfigurationError(
            f"nudge-policy: the log has decisions of {', '.join(sorted(logged)) or 'no action'}; "
            "two actions are the least to choose between"
        )
    new = [spec.action for spec in specs if spec.action not in logged]
    if new:
        notes.append(f"never logged, so served only as exploration: {', '.join(new)}")
    ordered = sorted(specs, key=lambda spec: spec.action not in logged)
    return ChosenActions(frame, ordered, propensities, tuple(notes))


def _priced(specs: Iterable[ActionSpec], costs: str) -> list[ActionSpec]:
    """The specs with costs from `action=cost,…`; `*=cost` is every action but none."""
    specs = list(specs)
    told: dict[str, float] = {}
    for part in (p for p in costs.split(",") if p.strip()):
        name, _, amount = part.partition("=")
        try:
            told[name.strip()] = float(amount)
        except ValueError as error:
            raise ConfigurationError(
                f"nudge-policy: costs={costs!r}: {part!r} is not action=cost"
            ) from error
    _known([name for name in told if name != _ALL_BUT_NONE], specs, key="costs")
    default = told.get(_ALL_BUT_NONE)
    return [_with_cost(spec, told.get(spec.action), default) for spec in specs]


def _with_cost(spec: ActionSpec, own: float | None, default: float | None) -> ActionSpec:
    cost = own if own is not None else None if spec.action == NONE else default
    return spec if cost is None else msgspec.structs.replace(spec, cost=cost)


def _known(names: Sequence[str], specs: Sequence[ActionSpec], *, key: str) -> list[str]:
    known = [spec.action for spec in specs]
    names = [name.strip() for name in names]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known[:20])}"
            raise ConfigurationError(f"nudge-policy: {key}: no action {name!r}; {hint}")
    return names


def _given_chosen(frame: pd.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Propensities given that one of `names` was drawn, (n,).

    The log knows the propensity of the action taken only, so the sum over `names` is known just
    where each action always had the same one, as in a randomised trial.
    """
    spread = frame.groupby("action")["propensity"].agg(["min", "max"])
    if (spread["max"] - spread["min"] > _SAME).any():
        raise ConfigurationError(
            "nudge-policy: actions=… keeps part of the log, which needs each action's propensity "
            "to be the same in every decision (a randomised trial); here they depend on the "
            "context. Leave actions empty"
        )
    total = float(spread["min"].reindex(list(names)).sum())
    return frame["propensity"].to_numpy(dtype=np.float64) / min(total, 1.0)


def eligibility(frame: pd.DataFrame, specs: Sequence[ActionSpec]) -> np.ndarray | None:
    """(n, K): whether an action could have been drawn; None where all always could.

    From the log's column `eligible`, else from the actions' dates.
    """
    names = [spec.action for spec in specs]
    if ELIGIBLE in frame.columns:
        codes, texts = pd.factorize(frame[ELIGIBLE])
        sets = [set(text.split(DIVIDER)) for text in texts]
        mask = np.array([[name in listed for name in names] for listed in sets])[codes]
    else:
        mask = np.stack([valid_then(frame["timestamp"], spec) for spec in specs], axis=1)
        mask[np.arange(len(frame)), pd.Categorical(frame["action"], categories=names).codes] = True
    logged = np.array([name in set(frame["action"]) for name in names])
    mask &= logged  # what was never drawn cannot be valued: it is served as exploration only
    return None if mask.all() else mask


def valid_then(times: pd.Series, spec: ActionSpec) -> np.ndarray:
    """Whether an action was valid at each of these times, by its dates, bool (n,)."""
    valid = np.ones(len(times), dtype=bool)
    if spec.valid_from is not None:
        valid &= (times >= pd.Timestamp(as_utc(spec.valid_from))).to_numpy()
    if spec.valid_until is not None:
        valid &= (times < pd.Timestamp(as_utc(spec.valid_until))).to_numpy()
    return valid
