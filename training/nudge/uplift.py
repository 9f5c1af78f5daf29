"""Qini, AUUC and uplift@k of a score for one treatment against none.

Definitions are those of scikit-uplift 0.5 (`qini_auc_score`, `uplift_auc_score`, `uplift_at_k`),
so that figures compare with published ones; a test holds them together where it is installed.
All take `rewards` 0/1 (n,), `scores` (n,) and `treated` 0/1 (n,).
"""

from __future__ import annotations

import numpy as np


def qini_curve(
    rewards: np.ndarray, scores: np.ndarray, treated: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Customers targeted and extra rewards: treated rewards − control rewards × n_t / n_c."""
    targeted, n_treated, treated_sum, control_sum = _cumulated(rewards, scores, treated)
    n_control = targeted - n_treated
    return targeted, treated_sum - control_sum * _ratio(n_treated, n_control)


def uplift_curve(
    rewards: np.ndarray, scores: np.ndarray, treated: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Customers targeted and (treated mean − control mean) × customers targeted."""
    targeted, n_treated, treated_sum, control_sum = _cumulated(rewards, scores, treated)
    n_control = targeted - n_treated
    rates = _ratio(treated_sum, n_treated) - _ratio(control_sum, n_control)
    return targeted, rates * targeted


def qini_score(rewards: np.ndarray, scores: np.ndarray, treated: np.ndarray) -> float:
    """Area between the Qini curve and the random line, over that of the perfect curve."""
    perfect = rewards * treated - rewards * (1 - treated)
    return _share(qini_curve(rewards, scores, treated), qini_curve(rewards, perfect, treated))


def auuc_score(rewards: np.ndarray, scores: np.ndarray, treated: np.ndarray) -> float:
    """Area between the uplift curve and the random line, over that of the perfect curve."""
    control_responders = int(((rewards == 1) & (treated == 0)).sum())
    treated_others = int(((rewards == 0) & (treated == 1)).sum())
    summand = rewards if control_responders > treated_others else treated
    perfect = 2 * (rewards == treated) + summand
    return _share(uplift_curve(rewards, scores, treated), uplift_curve(rewards, perfect, treated))


def uplift_at(
    rewards: np.ndarray, scores: np.ndarray, treated: np.ndarray, *, share: float = 0.3
) -> float:
    """Treated mean − control mean among the `share` with the highest scores of both groups."""
    count = int(len(scores) * share)
    top = np.argsort(scores, kind="stable")[::-1][:count]
    among, given = rewards[top], treated[top]
    return float(among[given == 1].mean() - among[given == 0].mean())


def _cumulated(
    rewards: np.ndarray, scores: np.ndarray, treated: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per distinct score, best first: customers, treated, treated and control rewards so far."""
    order = np.argsort(scores, kind="stable")[::-1]
    rewards, scores, treated = rewards[order], scores[order], treated[order]
    ends = np.r_[np.flatnonzero(np.diff(scores)), len(scores) - 1]
    sums = [
        np.cumsum(values, dtype=np.float64)[ends]
        for values in (treated, rewards * treated, rewards * (1 - treated))
    ]
    targeted, *cumulated = [np.r_[0.0, values] for values in (ends + 1.0, *sums)]
    return targeted, cumulated[0], cumulated[1], cumulated[2]


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom != 0)


def _share(curve: tuple[np.ndarray, np.ndarray], perfect: tuple[np.ndarray, np.ndarray]) -> float:
    (x, y), (best_x, best_y) = curve, perfect
    baseline = best_x[-1] * best_y[-1] / 2
    return float((_area(x, y) - baseline) / (_area(best_x, best_y) - baseline))


def _area(x: np.ndarray, y: np.ndarray) -> float:
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())
