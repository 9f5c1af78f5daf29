"""How much of a log speaks about a target policy: weights, effective sizes, holes in the support.

Read by the gate before any estimate is believed: with an effective sample of two, every interval
is fiction, and with propensities that are not those the actions were drawn with, every estimate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from training.nudge.bounds import Groups
from training.nudge.off_policy import Log

_DEVIATIONS = 4.0
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Support:
    """`effective_sample_size` (Σw)² / Σw²; `largest_weight`; `mean_weight` is 1 in expectation.

    `matched_rewards`: effective number of rows with a reward that the target policy would have
    collected too: (Σwr)² / Σ(wr)². For a deterministic policy on a uniform log it is the count.
    `unsupported`: the share of the policy's probability on actions that were never logged.
    `contradicted`: how far the mean weight, of all rows or of one action's, is from the policy's
    own share, beyond four standard errors: what true propensities leave at 0.
    `violations` are sentences, the worst contradiction first; empty when there are none.
    """

    effective_sample_size: float
    largest_weight: float
    mean_weight: float
    matched_rewards: float
    unsupported: float
    contradicted: float
    violations: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "violations": list(self.violations)}


def support_of(
    log: Log,
    probabilities: np.ndarray,
    rewards: np.ndarray,
    *,
    groups: Groups,
    names: Sequence[str],
) -> Support:
    """The support that `log` gives to a policy's `probabilities` (n, K); `rewards` (n,), `names` of
    the K actions; rows of one group may have been drawn together."""
    weights = log.weights(probabilities)
    logged = np.bincount(log.actions, minlength=probabilities.shape[1]) > 0
    unsupported = float(probabilities[:, ~logged].sum(axis=1).mean())
    misfits = _misfits(log, probabilities, groups=groups, names=names)
    never = [f"{unsupported:.1%} of the policy's choices were never logged"] if unsupported else []
    return Support(
        effective_sample_size=effective_size(weights),
        largest_weight=float(weights.max(initial=0.0)),
        mean_weight=float(weights.mean()),
        matched_rewards=effective_size(weights * np.abs(rewards)),
        unsupported=unsupported,
        contradicted=misfits[0].excess if misfits else 0.0,
        violations=(*(misfit.sentence for misfit in misfits), *never),
    )


def effective_size(weights: np.ndarray) -> float:
    """Kish's effective sample size; 0 when all weights are."""
    squares = float((weights**2).sum())
    return float(weights.sum()) ** 2 / squares if squares else 0.0


@dataclass(frozen=True)
class _Misfit:
    """Choices whose weights average something else than they should, by `excess` beyond chance."""

    excess: float
    sentence: str


def _misfits(
    log: Log, probabilities: np.ndarray, *, groups: Groups, names: Sequence[str]
) -> list[_Misfit]:
    """Worst first. With the true propensities the weights of an action's rows average, but for
    chance, the policy's own probability of it: E[w·1{A = a}] = E[π(a|x)]; so do those of all logged
    actions. One that is never drawn in some context, and rightly so, is no misfit unless the policy
    would draw it there."""
    weights, logged = log.weights(probabilities), np.unique(log.actions)
    spread = float((weights**2).sum()) / (float(weights.sum()) or 1.0)
    found = [_misfit("", weights, probabilities[:, logged].sum(axis=1), groups, spread)]
    for code in logged.tolist():
        held = np.where(log.actions == code, weights, 0.0)
        found.append(_misfit(f" of {names[code]}", held, probabilities[:, code], groups, spread))
    return sorted((m for m in found if m.excess > _ROUNDING), key=lambda m: -m.excess)


def _misfit(
    which: str, held: np.ndarray, expected: np.ndarray, groups: Groups, spread: float
) -> _Misfit:
    """Of weights (n,) and their expectations (n,). `spread`, Σw² / Σw, gives an action that is rare
    enough to be missing from the log the error that its rows cannot show."""
    squares = float((groups.sums(held - expected) ** 2).sum())
    error = float(np.sqrt(max(squares, spread * float(expected.sum())))) / len(held)
    return _Misfit(
        abs(float((held - expected).mean())) - _DEVIATIONS * error,
        f"importance weights{which} average {held.mean():.3f}, not {expected.mean():.3f}: the "
        "logged propensities are not those the actions were drawn with, or some choices of the "
        "policy were impossible",
    )
