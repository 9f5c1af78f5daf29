"""Calibration: do decisions that were promised a reward of x bring x? And uplift per action.

A policy that weighs a reward's worth against a cost is only as good as its promises; the report
shows them beside what came, on rows the model had not seen.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from training.nudge.prepare import Prepared
from training.nudge.uplift import auuc_score, qini_score, uplift_at

_BINS = 10
_SUSPICIOUS = 3.0


def calibration_of(prepared: Prepared, rewards: np.ndarray) -> dict[str, Any]:
    """Predicted and observed rewards of the taken actions, by tenths of the prediction.

    `rewards` (n, K) are out-of-fold predictions. `slope` of observed on predicted is 1 for a
    calibrated model, below 1 for one that promises too much variety. `expected_error` is the mean
    absolute distance of a bin; `calibrated` is False where a bin is off by more than chance.
    """
    predicted = rewards[np.arange(len(prepared)), prepared.actions]
    observed = prepared.rewards
    bins = [_bin(predicted[rows], observed[rows]) for rows in _tenths(predicted)]
    counts = np.array([b["decisions"] for b in bins])
    distances = np.array([abs(b["predicted"] - b["observed"]) for b in bins])
    spread = float(predicted.var())
    slope = float(np.cov(predicted, observed, bias=True)[0, 1] / spread) if spread else None
    return {
        "bins": bins,
        "slope": slope,
        "expected_error": float((counts * distances).sum() / counts.sum()),
        "calibrated": bool(max(b["deviations"] for b in bins) < _SUSPICIOUS),
        "by_action": {
            name: _bin(predicted[prepared.actions == code], observed[prepared.actions == code])
            for code, name in enumerate(prepared.names)
            if (prepared.actions == code).any()
        },
    }


def _tenths(predicted: np.ndarray) -> list[np.ndarray]:
    order = np.argsort(predicted, kind="stable")
    return [rows for rows in np.array_split(order, _BINS) if len(rows)]


def _bin(predicted: np.ndarray, observed: np.ndarray) -> dict[str, Any]:
    error = float(observed.std()) / np.sqrt(len(observed))
    missed = float(abs(predicted.mean() - observed.mean()))
    return {
        "decisions": len(observed),
        "predicted": float(predicted.mean()),
        "observed": float(observed.mean()),
        "deviations": missed / error if error else 0.0,
    }


def uplift_of(prepared: Prepared, rewards: np.ndarray, *, reference: int) -> dict[str, Any]:
    """Qini, AUUC and uplift at 30 % of each action against the reference, out of fold.

    Defined for rewards of 0 and 1 and actions drawn alike whatever the context; others are left
    out. Ties and normalisation as in `training.nudge.uplift`.
    """
    if not prepared.meta["binary"]:
        return {}
    found = {}
    for action, name in enumerate(prepared.names):
        rows = np.isin(prepared.actions, (action, reference))
        treated = (prepared.actions[rows] == action).astype(int)
        if action == reference or not _is_comparable(prepared, rows, treated):
            continue
        scores = rewards[rows, action] - rewards[rows, reference]
        outcome = prepared.rewards[rows].astype(int)
        found[name] = {
            "decisions": int(rows.sum()),
            "qini": qini_score(outcome, scores, treated),
            "auuc": auuc_score(outcome, scores, treated),
            "uplift_at_30_percent": uplift_at(outcome, scores, treated),
            "uplift": float(outcome[treated == 1].mean() - outcome[treated == 0].mean()),
        }
    return found


def _is_comparable(prepared: Prepared, rows: np.ndarray, treated: np.ndarray) -> bool:
    """Both groups there and rewarded, each with one propensity throughout, enough for a curve."""
    propensities, rewards = prepared.propensities[rows], prepared.rewards[rows]
    for group in (0, 1):
        mine = treated == group
        if mine.sum() < 100 or rewards[mine].sum() < 10:
            return False
        if np.ptp(propensities[mine]) > 1e-6:
            return False
    return True
