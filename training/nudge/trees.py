"""Boosted trees per action, exported to the flat arrays that `inference.value_models` walks."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from inference.value_models import Link, TreeModel
from training.nudge.models import Examples

_FEWEST = 200  # decisions of an action, below which it gets its mean


class BoostedTrees:
    """A T-learner: small trees of each action's own decisions. Squared loss, so rewards directly.

    One thread: the machine has others to feed, and the trees are the same bits every time.
    """

    link: Link = "identity"

    def __init__(self, *, trees: int = 60, leaves: int = 4, rate: float = 0.05) -> None:
        self.trees = trees
        self.leaves = leaves
        self.rate = rate

    def fit(self, examples: Examples) -> BoostedTrees:
        with threadpool_limits(1):
            fitted = [self._fit_action(examples, a) for a in range(examples.action_count)]
        bases = [base for base, _ in fitted]
        for action in np.flatnonzero(~examples.seen):
            bases[action], fitted[action] = bases[examples.reference], fitted[examples.reference]
        self.arrays_ = _flattened([nodes for _, nodes in fitted], np.array(bases), self.trees)
        self._model = TreeModel(self.arrays_, width=examples.contexts.shape[1])
        return self

    def _fit_action(self, examples: Examples, action: int) -> tuple[float, list[np.ndarray]]:
        rows = examples.actions == action
        if not rows.any():
            return 0.0, []
        rewards, weights = examples.rewards[rows], examples.weights[rows]
        mean = float(np.average(rewards, weights=weights))
        if rows.sum() < _FEWEST or np.ptp(rewards) == 0:
            return mean, []
        model = HistGradientBoostingRegressor(
            max_iter=self.trees,
            max_leaf_nodes=self.leaves,
            learning_rate=self.rate,
            min_samples_leaf=max(20, int(rows.sum()) // 100),
            max_bins=64,
            early_stopping=False,
        ).fit(examples.contexts[rows], rewards, sample_weight=weights)
        return float(model._baseline_prediction.ravel()[0]), _nodes(model)

    def rewards(self, contexts: np.ndarray) -> np.ndarray:
        return self._model.scores(contexts)

    def arrays(self) -> dict[str, np.ndarray]:
        return self.arrays_


def _nodes(model: Any) -> list[np.ndarray]:
    """The trees' node tables. scikit-learn keeps them private; a test holds the export to it."""
    return [predictors[0].nodes for predictors in model._predictors]


def _flattened(
    actions: list[list[np.ndarray]], bases: np.ndarray, trees: int
) -> dict[str, np.ndarray]:
    """All actions' trees one after the other; an action with fewer walks an empty leaf."""
    empty = {"feature": [0], "threshold": [0.0], "left": [0], "right": [0], "value": [0.0]}
    parts: dict[str, list[Any]] = {key: [np.array(values)] for key, values in empty.items()}
    roots = np.zeros((len(actions), trees), dtype=np.int32)
    offset = 1
    for action, tables in enumerate(actions):
        for tree, table in enumerate(tables):
            roots[action, tree] = offset
            for key, values in _columns(table, offset).items():
                parts[key].append(values)
            offset += len(table)
    joined = {key: np.concatenate(values) for key, values in parts.items()}
    return {
        "tree_feature": joined["feature"].astype(np.int32),
        "tree_threshold": joined["threshold"].astype(np.float64),
        "tree_left": joined["left"].astype(np.int32),
        "tree_right": joined["right"].astype(np.int32),
        "tree_value": joined["value"].astype(np.float32),
        "tree_roots": roots,
        "base": bases.astype(np.float64),
    }


def _columns(table: np.ndarray, offset: int) -> dict[str, np.ndarray]:
    """One tree's nodes at `offset`; a leaf leads to itself."""
    itself = np.arange(len(table))
    leaf = table["is_leaf"].astype(bool)
    return {
        "feature": np.where(leaf, 0, table["feature_idx"]),
        "threshold": np.where(leaf, 0.0, table["num_threshold"]),
        "left": np.where(leaf, itself, table["left"]) + offset,
        "right": np.where(leaf, itself, table["right"]) + offset,
        "value": np.where(leaf, table["value"], 0.0),
    }
