"""Prepare: a log of nudges → coded arrays with folds. A SageMaker processing job.

Reads the channel `dataset`, writes the output `prepared`. A customer's decisions all fall into one
fold, by a hash of the customer, so that a policy is never valued on people it has learned from. The
channel `suppression` says who was erased, and so is left out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from inference.features import Encoder, Feature
from inference.guardrail_rules import ActionSpec
from training.configuration import parse
from training.errors import ConfigurationError, NotEnoughDataError
from training.job import Job
from training.nudge.actions import chosen_actions, eligibility
from training.nudge.configuration import NudgeConfiguration
from training.nudge.features import features_of
from training.nudge.tables import CONTEXT, NudgeDataset, read_nudge_dataset
from training.suppression import read_suppression, without_suppressed

ARRAYS = ("contexts", "actions", "rewards", "propensities", "times", "customers", "folds")
MASK = "eligible"
_LEAST_REWARDED = 10


@dataclass(frozen=True)
class Prepared:
    """A row a decision, oldest first.

    `contexts` float (n, d), encoded; `actions` int32 codes; `rewards` float, in the reward's unit;
    `propensities`; `times` int64 seconds; `customers` int32 codes; `folds` int8. `eligible` bool
    (n, K), or None where every action always was. `meta` is plain JSON: `actions`, `features`,
    `guardrails`, `reward`, `binary`, `fingerprint`, `notes`.
    """

    contexts: np.ndarray
    actions: np.ndarray
    rewards: np.ndarray
    propensities: np.ndarray
    times: np.ndarray
    customers: np.ndarray
    folds: np.ndarray
    eligible: np.ndarray | None
    meta: dict[str, Any]

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def specs(self) -> list[ActionSpec]:
        return msgspec.convert(self.meta["actions"], list[ActionSpec])

    @property
    def names(self) -> list[str]:
        return [spec["action"] for spec in self.meta["actions"]]

    @property
    def costs(self) -> np.ndarray:
        return np.array([spec.cost for spec in self.specs])

    def take(self, rows: np.ndarray) -> Prepared:
        """Only these rows (mask or indices)."""
        arrays = {name: getattr(self, name)[rows] for name in ARRAYS}
        mask = None if self.eligible is None else self.eligible[rows]
        return Prepared(**arrays, eligible=mask, meta=self.meta)


def run(job: Job) -> None:
    configuration = parse(NudgeConfiguration, job.settings, where="nudge-policy")
    dataset = read_nudge_dataset(job.channel("dataset"))
    kept = without_suppressed(dataset.nudges, read_suppression(job.channel("suppression")))
    prepared = prepare(replace(dataset, nudges=kept), configuration)
    suppressed = len(dataset.nudges) - len(kept)
    prepared = replace(prepared, meta={**prepared.meta, "suppressed": suppressed})
    save(prepared, job.output("prepared"))
    job.log(
        "prepared",
        decisions=len(prepared),
        actions=len(prepared.names),
        columns=prepared.contexts.shape[1],
        rewarded=int((prepared.rewards != 0).sum()),
        suppressed=suppressed,
        notes=prepared.meta["notes"],
    )


def prepare(dataset: NudgeDataset, configuration: NudgeConfiguration) -> Prepared:
    """Code a log. Raises `ConfigurationError` for actions or costs that do not fit it, and
    `NotEnoughDataError` where too few decisions were rewarded to learn from."""
    chosen = chosen_actions(dataset, configuration)
    frame = chosen.nudges
    names = [spec.action for spec in chosen.specs]
    rewards = _target(frame, configuration)
    told = [c for c in dataset.context_columns if not _names_customers(frame, c)]
    columns = {c.removeprefix(CONTEXT): frame[c] for c in told}
    features = features_of(columns, maximum_categories=configuration.maximum_categories)
    codes, customers = pd.factorize(frame["customer_id"], sort=True)
    contexts = Encoder(features).encode_columns(columns, len(frame))
    actions = pd.Categorical(frame["action"], categories=names).codes.astype(np.int32)
    times = frame["timestamp"].astype("datetime64[s, UTC]").astype("int64").to_numpy()
    return Prepared(
        contexts=contexts,
        actions=actions,
        rewards=rewards,
        propensities=chosen.propensities,
        times=times,
        customers=codes.astype(np.int32),
        folds=_folds(customers, configuration)[codes],
        eligible=eligibility(frame, chosen.specs),
        meta={
            "actions": msgspec.to_builtins(chosen.specs),
            "features": _plain(features),
            "guardrails": msgspec.to_builtins(dataset.guardrails),
            "reward": _reward(rewards, configuration),
            "binary": bool(np.isin(rewards, (0.0, 1.0)).all()),
            "fingerprint": _fingerprint(contexts, actions, rewards, chosen.propensities, times),
            "notes": [*chosen.notes, *_left_out(set(dataset.context_columns) - set(told))],
        },
    )


def _names_customers(frame: pd.DataFrame, column: str) -> bool:
    """Whether a context is who the customer is, wherever it is told: nothing that others share, and
    no model may hold it."""
    told = frame[column].notna()
    return bool(told.any() and (frame[column] == frame["customer_id"])[told].all())


def _left_out(columns: set[str]) -> list[str]:
    return [f"{column} is left out: it holds the customers' ids" for column in sorted(columns)]


def _plain(features: list[Feature]) -> list[dict[str, Any]]:
    return [dict(msgspec.to_builtins(feature)) for feature in features]


def _target(frame: pd.DataFrame, configuration: NudgeConfiguration) -> np.ndarray:
    if configuration.target not in frame.columns:
        raise ConfigurationError(
            "nudge-policy: target=value, but the log has no column 'value'; target=reward it is"
        )
    rewards = frame[configuration.target].to_numpy(dtype=np.float64)
    rewarded = int((rewards != 0).sum())
    if rewarded < _LEAST_REWARDED:
        raise NotEnoughDataError(
            f"{rewarded} of {len(rewards):,} decisions have a {configuration.target} other than "
            f"0; at least {_LEAST_REWARDED} are needed to learn anything"
        )
    return rewards


def _reward(rewards: np.ndarray, configuration: NudgeConfiguration) -> dict[str, Any]:
    """The range a reward can have, as told or as seen."""
    low, high = configuration.reward_minimum, configuration.reward_maximum
    told = low < high
    seen = float(rewards.min()), float(rewards.max())
    if told and (seen[0] < low or seen[1] > high):
        raise ConfigurationError(
            f"nudge-policy: rewards go from {seen[0]:g} to {seen[1]:g}, outside reward_minimum "
            f"{low:g} to reward_maximum {high:g}"
        )
    if not told:
        low, high = min(seen[0], 0.0), seen[1]
    return {"minimum": low, "maximum": high, "told": told}


def _folds(customers: pd.Index, configuration: NudgeConfiguration) -> np.ndarray:
    keys = np.asarray(customers, dtype=object) + f"/{configuration.seed}"
    hashes = pd.util.hash_array(keys, categorize=False)
    return (hashes % np.uint64(configuration.folds)).astype(np.int8)


def _fingerprint(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).astype(np.float64).tobytes())
    return digest.hexdigest()


def save(prepared: Prepared, folder: Path) -> None:
    """Write what `load` reads; same content, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(prepared, name), allow_pickle=False)
    if prepared.eligible is not None:
        np.save(folder / f"{MASK}.npy", prepared.eligible, allow_pickle=False)
    (folder / "meta.json").write_text(json.dumps(prepared.meta), encoding="utf-8")


def load(folder: Path) -> Prepared:
    arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in ARRAYS}
    mask = folder / f"{MASK}.npy"
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    eligible = np.load(mask, allow_pickle=False) if mask.exists() else None
    return Prepared(**arrays, eligible=eligible, meta=meta)
