"""What an action is expected to earn, as arrays: linear models or boosted trees. Runs in a Lambda.

A model gives the link's inner value for all K actions; `expected` turns it into a reward. Arrays
come from the artefact of a nudge policy, written by `training/nudge`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Literal, Protocol

import numpy as np

from inference.errors import ArtifactError

Link = Literal["identity", "logistic"]
TREES = ("tree_feature", "tree_threshold", "tree_left", "tree_right", "tree_value")
_ROWS_PER_BLOCK = 4096


class ValueModel(Protocol):
    """(d,) → (K,), or (n, d) → (n, K): values before the link."""

    actions: int

    def scores(self, x: np.ndarray) -> np.ndarray: ...


class LinearModel:
    """`coefficients` (K, d + 1): a row an action, the intercept last."""

    def __init__(self, coefficients: np.ndarray, *, width: int) -> None:
        if coefficients.ndim != 2 or coefficients.shape[1] != width + 1:
            raise ArtifactError(
                f"coefficients {coefficients.shape}: expected (actions, {width + 1})"
            )
        self.actions = len(coefficients)
        full = np.asarray(coefficients, dtype=np.float64)
        _require_finite("coefficients", full)
        self._slopes = np.ascontiguousarray(full[:, :-1].T)
        self._intercepts = full[:, -1].copy()

    def scores(self, x: np.ndarray) -> np.ndarray:
        return x.dot(self._slopes) + self._intercepts

    def rescaled(self, factor: float, less: np.ndarray) -> LinearModel:
        """The model whose scores are `factor` × these, less something per action (K,)."""
        found = copy.copy(self)
        found._slopes = factor * self._slopes
        found._intercepts = factor * self._intercepts - less
        return found


class BootstrapModel:
    """`bootstrap_coefficients` (B, K, d + 1): B linear models of resampled logs, for Thompson."""

    def __init__(self, coefficients: np.ndarray, *, width: int) -> None:
        if coefficients.ndim != 3 or coefficients.shape[2] != width + 1:
            raise ArtifactError(
                f"bootstrap_coefficients {coefficients.shape}: expected (B, actions, {width + 1})"
            )
        self.draws, self.actions = coefficients.shape[:2]
        self._model = LinearModel(coefficients.reshape(-1, width + 1), width=width)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """(d,) → (B, K), or (n, d) → (n, B, K)."""
        return self._model.scores(x).reshape(*x.shape[:-1], self.draws, self.actions)


class TreeModel:
    """Boosted trees as flat node arrays; `tree_roots` (K, trees) and `base` (K,).

    At node i go to `tree_left[i]` where `x[tree_feature[i]] <= tree_threshold[i]`, else to
    `tree_right[i]`, both indices of nodes; a leaf points to itself on both sides and holds
    `tree_value`. An action's score is `base` plus its trees' leaves.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray], *, width: int) -> None:
        missing = [n for n in (*TREES, "tree_roots", "base") if n not in arrays]
        if missing:
            raise ArtifactError(f"a model of trees lacks the arrays {', '.join(missing)}")
        self._feature, self._threshold, self._left, self._right, self._value = (
            np.asarray(arrays[name]) for name in TREES
        )
        self._roots = np.asarray(arrays["tree_roots"], dtype=np.int64)
        self._base = np.asarray(arrays["base"], dtype=np.float64)
        self.actions = len(self._base)
        self._check(width)
        self._children = np.stack([self._right, self._left], axis=1).astype(np.int64)
        self._depth = self._find_depth()

    def scores(self, x: np.ndarray) -> np.ndarray:
        if x.ndim == 1:
            return self._block(x[np.newaxis])[0]
        starts = range(0, max(1, len(x)), _ROWS_PER_BLOCK)
        return np.concatenate([self._block(x[s : s + _ROWS_PER_BLOCK]) for s in starts])

    def _block(self, x: np.ndarray) -> np.ndarray:
        rows = np.arange(len(x))[:, np.newaxis]
        node = np.tile(self._roots.ravel(), (len(x), 1))
        for _ in range(self._depth):
            is_left = x[rows, self._feature[node]] <= self._threshold[node]
            node = self._children[node, is_left.view(np.int8)]
        leaves = self._value[node].reshape(len(x), *self._roots.shape)
        return self._base + leaves.sum(axis=2)

    def _check(self, width: int) -> None:
        count = len(self._feature)
        _require_finite("tree_value", self._value)
        _require_finite("base", self._base)
        same = all(len(a) == count for a in (self._threshold, self._left, self._right, self._value))
        if not same or self._roots.ndim != 2 or len(self._roots) != self.actions:
            raise ArtifactError("tree arrays of different lengths, or roots not (actions, trees)")
        for name, array, bound in (
            ("tree_feature", self._feature, width),
            ("tree_left", self._left, count),
            ("tree_right", self._right, count),
            ("tree_roots", self._roots, count),
        ):
            if array.size and not (array.min() >= 0 and array.max() < bound):
                raise ArtifactError(f"{name}: an index is outside [0, {bound})")

    def _find_depth(self) -> int:
        """Steps until every walk has ended; a cycle of nodes is an `ArtifactError`."""
        reached = np.unique(self._roots)
        nodes = np.arange(len(self._feature))
        inner = (self._left != nodes) | (self._right != nodes)
        for depth in range(len(nodes) + 1):
            reached = reached[inner[reached]]
            if not len(reached):
                return depth
            reached = np.unique(self._children[reached])
        raise ArtifactError("a tree's nodes form a cycle")


def _require_finite(name: str, values: np.ndarray) -> None:
    if not np.isfinite(values).all():
        raise ArtifactError(f"{name}: holds a value that is not finite")


def open_model(arrays: Mapping[str, np.ndarray], *, width: int) -> ValueModel:
    """The value model of an artefact's arrays."""
    if "coefficients" in arrays:
        return LinearModel(arrays["coefficients"], width=width)
    return TreeModel(arrays, width=width)


def expected(scores: np.ndarray, link: Link) -> np.ndarray:
    """The reward that a score stands for."""
    if link == "identity":
        return scores
    # tanh does not overflow, whatever the score
    return 0.5 + 0.5 * np.tanh(0.5 * scores)
