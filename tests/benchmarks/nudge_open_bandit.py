"""Open Bandit: the value of the policy that ran elsewhere, from the log of random choices.

The Bernoulli Thompson sampler that filled the `bts` logs did not look at the context, so what it
drew is a table of items by position, counted here from its own log; the truth is that log's click
rate, which at 10,000 impressions is itself uncertain by 12 to 16 %. Part of
`tests.benchmarks.nudge`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.data import read_sources
from tests.unit.training.nudge.classification_bandit import cross_fitted_baseline
from training.nudge.configuration import NudgeConfiguration
from training.nudge.models import PooledLinear
from training.nudge.off_policy import ESTIMATORS, Log
from training.nudge.prepare import prepare
from training.nudge.tables import NudgeDataset

POSITION = "context_position"


def campaigns(folder: Path) -> Iterator[str]:
    """Campaigns of which the folder has both logs, as published: `random/<c>/<c>.csv[.xz]`."""
    for path in sorted((folder / "random").glob("*")):
        if all(_log(folder, policy, path.name) is not None for policy in ("random", "bts")):
            yield path.name


def _log(folder: Path, policy: str, campaign: str) -> Path | None:
    names = [f"{campaign}.csv", f"{campaign}.csv.xz"]
    found = [p for name in names if (p := folder / policy / campaign / name).exists()]
    return found[0] if found else None


def _read(folder: Path, policy: str, campaign: str) -> NudgeDataset:
    path = _log(folder, policy, campaign)
    dataset = read_sources(path, now=datetime.now(UTC))[0] if path else None
    if not isinstance(dataset, NudgeDataset):
        raise SystemExit(f"{folder}: no log of nudges for {policy}/{campaign}")
    return dataset


def relative_errors(folder: Path, campaign: str) -> dict[str, float]:
    """Of every estimator, and of taking the random log's own click rate (`naive`)."""
    bts, dataset = (_read(folder, policy, campaign) for policy in ("bts", "random"))
    prepared = prepare(dataset, NudgeConfiguration())
    log = Log(prepared.actions, prepared.rewards, prepared.propensities)
    target = _target(bts.nudges, dataset.nudges[POSITION], prepared.names)
    baseline = cross_fitted_baseline(
        log, prepared.contexts, lambda: PooledLinear(own=1000.0), actions=len(prepared.names)
    )
    truth = float(bts.nudges["reward"].mean())
    values = {name: method(log, target, baseline).value for name, method in ESTIMATORS.items()}
    return {
        name: abs(value / truth - 1)
        for name, value in {"naive": float(log.gains.mean()), **values}.items()
    }


def _target(bts: pd.DataFrame, positions: pd.Series, names: list[str]) -> np.ndarray:
    """(n, K): what the sampler would have drawn at each row's position."""
    counts = pd.crosstab(bts[POSITION], bts["action"], normalize="index")
    table = counts.reindex(columns=names, fill_value=0.0)
    return table.loc[positions].to_numpy(dtype=np.float64)
