"""Off-policy evaluation: what another policy would have earned, from one policy's log.

Three nouns: a `Log` (what was done, with what propensity, what it gave), the target policy's
probabilities (n, K) over the actions, and an estimator. Every estimator is a ratio of two means
of row terms, so one bootstrap serves all, and differences between policies are paired.

Sources: Dudík, Langford & Li, "Doubly robust policy evaluation and learning" (ICML 2011);
Swaminathan & Joachims, "The self-normalized estimator" (NIPS 2015); Wang, Agarwal & Dudík,
"Optimal and adaptive off-policy evaluation" (ICML 2017, Switch-DR); Su, Dimakopoulou,
Krishnamurthy & Dudík, "Doubly robust off-policy evaluation with shrinkage" (ICML 2020).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from training.nudge.bounds import ALPHA, Groups, bootstrap_ratios

CHOSEN = "dr"  # unbiased, and no worse than the shrunk ones where a gate would let a policy pass
_GRID_SIZE = 20
_DEVIATIONS = 2.0


@dataclass(frozen=True)
class Log:
    """Logged decisions. `actions` int (n,), `gains` float (n,): reward's worth less cost;
    `propensities` float (n,) in (0, 1]: of the action that was taken, when it was taken."""

    actions: np.ndarray
    gains: np.ndarray
    propensities: np.ndarray

    def __len__(self) -> int:
        return len(self.actions)

    def of_chosen(self, table: np.ndarray) -> np.ndarray:
        """The taken action's entry of each row: (n, K) → (n,)."""
        return np.take_along_axis(table, self.actions[:, None].astype(np.int64), axis=1)[:, 0]

    def weights(self, probabilities: np.ndarray) -> np.ndarray:
        """Importance weights (n,) of a target policy."""
        return self.of_chosen(probabilities) / self.propensities


@dataclass(frozen=True)
class Terms:
    """An estimate as sum(numerators) / sum(denominators), both (n,)."""

    numerators: np.ndarray
    denominators: np.ndarray

    @classmethod
    def mean_of(cls, values: np.ndarray) -> Terms:
        return cls(values, np.ones(len(values)))

    @property
    def value(self) -> float:
        total = float(self.denominators.sum())
        return float(self.numerators.sum()) / total if total else 0.0


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % bootstrap interval, in the gain's unit per decision."""

    estimator: str
    value: float
    low: float
    high: float


# An estimator: log, probabilities (n, K), baseline: predicted gains (n, K) → terms.
Estimator = Callable[[Log, np.ndarray, np.ndarray], Terms]


def direct(log: Log, probabilities: np.ndarray, baseline: np.ndarray) -> Terms:
    """The direct method: believe the reward model. Biased where the model is."""
    return Terms.mean_of((probabilities * baseline).sum(axis=1))


def ips(log: Log, probabilities: np.ndarray, baseline: np.ndarray) -> Terms:
    """Inverse propensity score: unbiased, as wild as the largest weight."""
    return Terms.mean_of(log.weights(probabilities) * log.gains)


def clipped_ips(log: Log, probabilities: np.ndarray, baseline: np.ndarray) -> Terms:
    """IPS with weights cut at a limit chosen from the data."""
    weights = log.weights(probabilities)

    def terms(limit: float) -> np.ndarray:
        return np.minimum(weights, limit) * log.gains

    return _select(terms, _limits(weights))


def snips(log: Log, probabilities: np.ndarray, baseline: np.ndarray) -> Terms:
    """Self-normalised IPS: a ratio, so gains' offset does not matter."""
    weights = log.weights(probabilities)
    return Terms(weights * log.gains, weights)


def dr(log: Log, probabilities: np.ndarray, baseline: np.ndarray) -> Terms:
    """Doubly robust: the model, corrected by what it missed. Unbiased with true propensities."""
    return Terms.mean_of(_corrected(log, probabilities, baseline, log.weights(probabilities)))


def switch_dr(log: Log, probabilities: np.ndarray, baseline: np.ndarray) -> Terms:
    """DR where the weight is below a limit, the model alone above it."""
    weights = log.weights(probabilities)

    def terms(limit: float) -> np.ndarray:
        kept = np.where(weights <= limit, weights, 0.0)
        return _corrected(log, probabilities, baseline, kept)

    return _select(terms, _limits(weights))


def dr_shrinkage(log: Log, probabilities: np.ndarray, baseline: np.ndarray) -> Terms:
    """DR with optimistic shrinkage: weight w becomes λw / (w² + λ); λ → ∞ is DR, 0 the model."""
    weights = log.weights(probabilities)

    def terms(limit: float) -> np.ndarray:
        shrunk = weights if np.isinf(limit) else limit * weights / (weights**2 + limit)
        return _corrected(log, probabilities, baseline, shrunk)

    return _select(terms, _limits(weights**2))


ESTIMATORS: Mapping[str, Estimator] = {
    "direct": direct,
    "ips": ips,
    "clipped_ips": clipped_ips,
    "snips": snips,
    "dr": dr,
    "switch_dr": switch_dr,
    "dr_shrinkage": dr_shrinkage,
}
# Estimators with a bias that no resample shows, and the unbiased one their interval must reach.
BIASED = {"direct": "dr", "clipped_ips": "ips", "switch_dr": "dr", "dr_shrinkage": "dr"}


def _corrected(
    log: Log, probabilities: np.ndarray, baseline: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    expected = (probabilities * baseline).sum(axis=1)
    return expected + weights * (log.gains - log.of_chosen(baseline))


def _limits(weights: np.ndarray) -> np.ndarray:
    """Limits to try, from none (infinity) down to a median of the positive weights."""
    positive = weights[weights > 0]
    if len(positive) == 0:
        return np.array([np.inf])
    quantiles = np.quantile(positive, np.linspace(1.0, 0.5, _GRID_SIZE))
    return np.r_[np.inf, quantiles]


def _select(terms: Callable[[float], np.ndarray], limits: np.ndarray) -> Terms:
    """The member with the least bound on its mean squared error: variance + (bias + its error)².

    `limits` begin with infinity, the unbiased member, against which the others' bias is measured.
    Source: the rule of Wang et al. (2017) and Su et al. (2020), with the measured bias and its
    standard error in place of their worst case.
    """
    unbiased = terms(limits[0])
    chosen, least = unbiased, np.inf
    for limit in limits:
        candidate = terms(limit)
        bias, error = _mean_and_error(candidate - unbiased)
        bound = abs(bias) + error
        risk = _mean_and_error(candidate)[1] ** 2 + bound**2
        if risk < least:
            chosen, least = candidate, risk
    return Terms.mean_of(chosen)


def _mean_and_error(values: np.ndarray) -> tuple[float, float]:
    return float(values.mean()), float(values.std()) / float(np.sqrt(len(values)))


def estimate(
    log: Log,
    probabilities: np.ndarray,
    baseline: np.ndarray,
    *,
    groups: Groups,
    generator: np.random.Generator,
    resamples: int = 1000,
    alpha: float = ALPHA,
) -> dict[str, Estimate]:
    """Every estimator's value of a policy, with bootstrap intervals from one set of resamples."""
    terms = {name: method(log, probabilities, baseline) for name, method in ESTIMATORS.items()}
    resampled = bootstrap_ratios(
        np.stack([t.numerators for t in terms.values()], axis=1),
        np.stack([t.denominators for t in terms.values()], axis=1),
        groups=groups,
        resamples=resamples,
        generator=generator,
    )
    lows, highs = resampled.intervals(alpha=alpha)
    found = {
        name: Estimate(name, t.value, float(lows[column]), float(highs[column]))
        for column, (name, t) in enumerate(terms.items())
    }
    reached = {name: _reaching(found[name], found[other]) for name, other in BIASED.items()}
    return {**found, **reached}


def _reaching(biased: Estimate, unbiased: Estimate) -> Estimate:
    """An estimate that knows nothing of its own bias, with an interval that spans both."""
    low, high = min(biased.low, unbiased.low), max(biased.high, unbiased.high)
    return Estimate(biased.estimator, biased.value, low, high)
