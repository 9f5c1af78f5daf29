"""A classification problem turned into logged decisions whose true values are known.

The construction of Dudík, Langford & Li (2011): actions are classes, the reward is 1 for the right
one. The literature does it on letter recognition; that set is not at hand, so a synthetic one of
the same shape (20,000 × 16, 26 classes) stands in for it, and scikit-learn's digits beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import load_digits, make_classification
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from training.nudge.models import Examples, Learner
from training.nudge.off_policy import Log


@dataclass(frozen=True)
class ClassificationBandit:
    """Contexts and classes of the part that is logged, and two policies over the classes."""

    contexts: np.ndarray
    classes: np.ndarray
    logging: np.ndarray
    target: np.ndarray

    @property
    def truth(self) -> float:
        """The target policy's true value on these contexts."""
        return float(self.target[np.arange(len(self.classes)), self.classes].mean())

    def draw(self, generator: np.random.Generator) -> Log:
        """Actions drawn by the logging policy, with their rewards and propensities."""
        points = generator.random((len(self.classes), 1))
        actions = (self.logging.cumsum(axis=1) > points).argmax(axis=1)
        propensities = self.logging[np.arange(len(actions)), actions]
        return Log(actions, (actions == self.classes).astype(float), propensities)


def letters_like(seed: int = 0) -> ClassificationBandit:
    """20,000 × 16 numbers of 26 classes; 12,000 are logged, 8,000 teach the two policies."""
    contexts, classes = make_classification(
        20_000,
        16,
        n_informative=12,
        n_redundant=4,
        n_classes=26,
        n_clusters_per_class=1,
        class_sep=1.5,
        random_state=seed,
    )
    return _bandit(contexts, classes, taught=8_000, actions=26)


def digits() -> ClassificationBandit:
    """scikit-learn's 1,797 handwritten digits; 600 teach the policies."""
    found = load_digits()
    order = np.random.default_rng(0).permutation(len(found.target))
    return _bandit(found.data[order], found.target[order], taught=600, actions=10)


def _bandit(
    contexts: np.ndarray, classes: np.ndarray, *, taught: int, actions: int
) -> ClassificationBandit:
    scaled = StandardScaler().fit_transform(contexts)
    half = taught // 2
    other = LogisticRegression(C=0.1, max_iter=500).fit(scaled[:half], classes[:half])
    good = LogisticRegression(C=1.0, max_iter=500).fit(scaled[half:taught], classes[half:taught])
    rest = scaled[taught:]
    logging = 0.8 * other.predict_proba(rest) + 0.2 / actions
    target = 0.9 * np.eye(actions)[good.predict(rest)] + 0.1 / actions
    return ClassificationBandit(rest, classes[taught:], logging, target)


def cross_fitted_baseline(
    log: Log, contexts: np.ndarray, learner: Callable[[], Learner], *, actions: int
) -> np.ndarray:
    """Predicted rewards (n, K) of a learner of ours, each half by the other's model."""
    examples = Examples(
        contexts, log.actions, log.gains, log.propensities, actions, 0, True, np.ones(len(log))
    )
    parity = np.arange(len(log)) % 2
    found = np.zeros((len(log), actions))
    for side in (0, 1):
        model = learner().fit(examples.take(parity != side))
        found[parity == side] = model.rewards(contexts[parity == side])
    return np.clip(found, 0.0, 1.0)
