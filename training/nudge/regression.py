"""Ridge and logistic regression with slopes that K actions share in part. Newton's method, exact.

Coefficients of action a are `shared + own_a`, both shrunk. The Hessian is an arrowhead of K blocks,
so a step costs K solutions of a (d + 1)-square system and never holds more than those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from training.nudge.models import Examples

_STEPS = 20
_TOLERANCE = 1e-6
_INTERCEPT = 1.0  # shrinkage of an action's own intercept towards the shared one, in decisions
_TINY = 1e-6


@dataclass(frozen=True)
class _Problem:
    """Columns with the intercept, by action: `parts` are row indices of each."""

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray
    parts: list[np.ndarray]
    shared_penalty: np.ndarray
    own_penalty: np.ndarray
    logistic: bool


def fit_pooled(examples: Examples, *, logistic: bool, shared: float, own: float) -> np.ndarray:
    """Coefficients (K, d + 1) of the rewards, the intercept last.

    An action without decisions is taken to do what the reference does.
    """
    count, width = examples.contexts.shape
    x = np.hstack([examples.contexts, np.ones((count, 1))])
    scale = _curvature_of_a_decision(examples) if logistic else 1.0
    order = np.argsort(examples.actions, kind="stable")
    ends = np.cumsum(np.bincount(examples.actions, minlength=examples.action_count))
    problem = _Problem(
        x=x,
        y=examples.rewards,
        weights=examples.weights,
        parts=np.split(order, ends[:-1]),
        shared_penalty=scale * np.r_[np.full(width, shared), _TINY],
        own_penalty=scale * np.r_[np.full(width, max(own, _TINY)), _INTERCEPT],
        logistic=logistic,
    )
    middle, apart = _newton(problem)
    coefficients = middle + apart
    coefficients[~examples.seen] = coefficients[examples.reference]
    return coefficients


def _curvature_of_a_decision(examples: Examples) -> float:
    """What one decision adds to a logistic loss's Hessian: makes penalties count decisions."""
    rate = float(np.average(examples.rewards, weights=examples.weights))
    return max(rate * (1 - rate), _TINY)


def _newton(problem: _Problem) -> tuple[np.ndarray, np.ndarray]:
    """Shared (d + 1,) and own (K, d + 1) coefficients at the least penalised loss."""
    width = problem.x.shape[1]
    middle, apart = np.zeros(width), np.zeros((len(problem.parts), width))
    middle[-1] = _start(problem)
    loss = _loss(problem, middle, apart)
    for _ in range(_STEPS if problem.logistic else 1):
        step_middle, step_apart = _step(problem, middle, apart)
        scale, improved = 1.0, loss
        while scale > 1e-4:
            improved = _loss(problem, middle + scale * step_middle, apart + scale * step_apart)
            if improved <= loss or not problem.logistic:
                break
            scale /= 2
        middle, apart = middle + scale * step_middle, apart + scale * step_apart
        if abs(loss - improved) <= _TOLERANCE * (abs(loss) + _TOLERANCE):
            break
        loss = improved
    return middle, apart


def _start(problem: _Problem) -> float:
    mean = float(np.average(problem.y, weights=problem.weights))
    if not problem.logistic:
        return mean
    mean = min(max(mean, _TINY), 1 - _TINY)
    return float(np.log(mean / (1 - mean)))


def _scores(problem: _Problem, middle: np.ndarray, apart: np.ndarray) -> np.ndarray:
    scores = problem.x @ middle
    for action, rows in enumerate(problem.parts):
        scores[rows] += problem.x[rows] @ apart[action]
    return scores


def _loss(problem: _Problem, middle: np.ndarray, apart: np.ndarray) -> float:
    scores = _scores(problem, middle, apart)
    if problem.logistic:
        losses = np.logaddexp(0.0, scores) - problem.y * scores
    else:
        losses = (problem.y - scores) ** 2 / 2
    shrinkage = (problem.shared_penalty * middle**2).sum() + (problem.own_penalty * apart**2).sum()
    return float((problem.weights * losses).sum() + shrinkage / 2)


def _step(
    problem: _Problem, middle: np.ndarray, apart: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Newton's step by elimination of the actions' own blocks."""
    scores = _scores(problem, middle, apart)
    fitted = 0.5 + 0.5 * np.tanh(0.5 * scores) if problem.logistic else scores
    curvature = problem.weights * (
        np.maximum(fitted * (1 - fitted), 1e-9) if problem.logistic else 1
    )
    slope = problem.weights * (fitted - problem.y)
    schur = np.diag(problem.shared_penalty)
    right = -(problem.shared_penalty * middle)
    blocks = []
    for action, rows in enumerate(problem.parts):
        x = problem.x[rows]
        hessian = x.T @ (x * curvature[rows, None])
        gradient = x.T @ slope[rows]
        own_gradient = gradient + problem.own_penalty * apart[action]
        own = hessian + np.diag(problem.own_penalty)
        solved = np.linalg.solve(own, np.column_stack([hessian, own_gradient]))
        schur = schur + hessian - hessian @ solved[:, :-1]
        right = right - gradient + hessian @ solved[:, -1]
        blocks.append(solved)
    step = np.linalg.solve(schur, right)
    own_steps = np.stack([-(solved[:, -1] + solved[:, :-1] @ step) for solved in blocks])
    return step, own_steps
