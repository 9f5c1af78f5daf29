"""How much of a log speaks about a target policy: weights, effective sizes, holes in the support.

Read by the gate before any estimate is believed: with an effective sample of two, every interval
is fiction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from training.nudge.off_policy import Log

_DEVIATIONS = 4.0


@dataclass(frozen=True)
class Support:
    """`effective_sample_size` (Σw)² / Σw²; `largest_weight`; `mean_weight` is 1 in expectation.

    `matched_rewards`: effective number of rows with a reward that the target policy would have
    collected too: (Σwr)² / Σ(wr)². For a deterministic policy on a uniform log it is the count.
    `unsupported`: the share of the policy's probability on actions that were never logged.
    `violations` are sentences, empty when there are none.
    """

    effective_sample_size: float
    largest_weight: float
    mean_weight: float
    matched_rewards: float
    unsupported: float
    violations: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "violations": list(self.violations)}


def support_of(log: Log, probabilities: np.ndarray, rewards: np.ndarray) -> Support:
    """The support that `log` gives to a policy's `probabilities` (n, K); `rewards` (n,)."""
    weights = log.weights(probabilities)
    logged = np.bincount(log.actions, minlength=probabilities.shape[1]) > 0
    unsupported = float(probabilities[:, ~logged].sum(axis=1).mean())
    return Support(
        effective_sample_size=effective_size(weights),
        largest_weight=float(weights.max(initial=0.0)),
        mean_weight=float(weights.mean()),
        matched_rewards=effective_size(weights * np.abs(rewards)),
        unsupported=unsupported,
        violations=_violations(weights, unsupported),
    )


def effective_size(weights: np.ndarray) -> float:
    """Kish's effective sample size; 0 when all weights are."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


def _violations(weights: np.ndarray, unsupported: float) -> tuple[str, ...]:
    found = []
    if unsupported > 0:
        found.append(f"{unsupported:.1%} of the policy's choices were never logged")
    error = float(weights.std()) / np.sqrt(len(weights))
    missing = 1.0 - unsupported - float(weights.mean())
    if abs(missing) > _DEVIATIONS * error + 1e-9:
        found.append(
            f"importance weights average {weights.mean():.3f}, not {1 - unsupported:.3f}: the "
            "logged propensities are not those the actions were drawn with, or some choices of "
            "the policy were impossible"
        )
    return tuple(found)
