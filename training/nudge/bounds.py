"""Confidence bounds on a mean: bootstrap intervals for reports, betting bounds for the gate.

Pure numpy, no knowledge of policies. A bootstrap interval is narrow but can collapse to a point
when few rewards were seen; the betting and the empirical-Bernstein bounds pay for the whole range
that a value could have had, so theirs cannot.
Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting" (JRSS-B
2024); Maurer & Pontil, "Empirical Bernstein bounds and sample-variance penalization" (COLT 2009).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

ALPHA = 0.05
_BISECTIONS = 50
_LARGEST_BET = 0.5  # of what ruins the gambler when the worst value comes
_RESAMPLES_AT_ONCE = 50


@dataclass(frozen=True)
class Range:
    """The least and the greatest that a single value could be, by construction."""

    low: float
    high: float

    @property
    def width(self) -> float:
        return self.high - self.low


@dataclass(frozen=True)
class Groups:
    """Which rows belong together (one customer's): bounds treat groups, not rows, as independent.

    `codes` int (n,), `count` the number of groups.
    """

    codes: np.ndarray
    count: int

    @classmethod
    def of(cls, keys: np.ndarray) -> Groups:
        unique, codes = np.unique(keys, return_inverse=True)
        return cls(codes, len(unique))

    @property
    def are_rows(self) -> bool:
        return self.count == len(self.codes)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """Sums by group: (n,) → (count,), (n, m) → (count, m)."""
        if values.ndim == 1:
            return np.bincount(self.codes, weights=values, minlength=self.count)
        return np.stack([self.sums(column) for column in values.T], axis=1)


@dataclass(frozen=True)
class Resampled:
    """Ratios of means as measured and as resampled, with their standard errors.

    `values`, `errors` (m,); `resampled_values`, `resampled_errors` (resamples, m).
    """

    values: np.ndarray
    errors: np.ndarray
    resampled_values: np.ndarray
    resampled_errors: np.ndarray

    def intervals(self, *, alpha: float = ALPHA) -> tuple[np.ndarray, np.ndarray]:
        """Studentised (bootstrap-t) intervals of level 1 − alpha: lower and upper ends, (m,).

        They follow the skewness that rare large weights give, which percentiles do not.
        """
        distances = self.resampled_values - self.values
        t = np.divide(
            distances,
            self.resampled_errors,
            out=np.zeros_like(distances),
            where=self.resampled_errors > 0,
        )
        low, high = np.quantile(t, [alpha / 2, 1 - alpha / 2], axis=0)
        return self.values - high * self.errors, self.values - low * self.errors


def bootstrap_ratios(
    numerators: np.ndarray,
    denominators: np.ndarray,
    *,
    groups: Groups,
    resamples: int,
    generator: np.random.Generator,
) -> Resampled:
    """Resamples (n, m) terms, each column a sum(numerator) / sum(denominator).

    Whole groups are drawn with replacement; all columns share the draw.
    """
    tops, bottoms = groups.sums(numerators), groups.sums(denominators)
    moments = np.hstack([tops, bottoms, tops**2, tops * bottoms, bottoms**2])
    counts = _counts(groups.count, resamples, generator)
    found = np.concatenate([drawn @ moments for drawn in counts])
    values, errors = _ratios(moments.sum(axis=0, keepdims=True))
    return Resampled(values[0], errors[0], *_ratios(found))


def _counts(count: int, resamples: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    """How often each group was drawn, (resamples, count), a block of resamples at a time."""
    for start in range(0, resamples, _RESAMPLES_AT_ONCE):
        size = min(_RESAMPLES_AT_ONCE, resamples - start)
        drawn = generator.integers(count, size=(size, count))
        yield np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.float64)


def _ratios(moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ratios and their delta-method standard errors from summed moments (…, 5m)."""
    top, bottom, squares, products, bottom_squares = np.split(moments, 5, axis=-1)
    safe = np.where(bottom > 0, bottom, 1.0)
    value = top / safe
    spread = np.maximum(squares - 2 * value * products + value**2 * bottom_squares, 0.0)
    return np.where(bottom > 0, value, 0.0), np.sqrt(spread) / safe


def empirical_bernstein_lower(values: np.ndarray, *, within: Range, alpha: float = ALPHA) -> float:
    """One-sided 1 − alpha lower bound on the mean of independent values in `within`.

    Source: Maurer & Pontil (2009), theorem 4.
    """
    n = len(values)
    if n < 2:
        return within.low
    log = np.log(2 / alpha)
    slack = np.sqrt(2 * values.var(ddof=1) * log / n) + 7 * within.width * log / (3 * (n - 1))
    return float(max(values.mean() - slack, within.low))


def betting_lower(
    values: np.ndarray,
    *,
    within: Range,
    groups: Groups | None = None,
    alpha: float = ALPHA,
    generator: np.random.Generator,
) -> float:
    """One-sided 1 − alpha lower bound on the mean of values that are never below `within.low`.

    A gambler bets that the mean is above m; where the capital ever reaches 1/alpha, m is too low.
    The bound is the least m that survives. Rows of one group are one bet. Only `within.low` has
    to be right for the bound to hold; `within.high` sets the first bets' size.
    Source: Waudby-Smith & Ramdas (2024), section 4, with the bets of their theorem 3.
    """
    sums, sizes = _units(values, groups, generator)
    bets = _bets(sums, sizes, within=within, alpha=alpha)
    low, high = within.low, float(values.mean())
    if not _refuted(high, sums, sizes, bets, within.low, alpha) and not _refuted(
        low, sums, sizes, bets, within.low, alpha
    ):
        return within.low
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _refuted(middle, sums, sizes, bets, within.low, alpha):
            low = middle
        else:
            high = middle
    return low


def betting_interval(
    values: np.ndarray,
    *,
    within: Range,
    groups: Groups | None = None,
    alpha: float = ALPHA,
    generator: np.random.Generator,
) -> tuple[float, float]:
    """Two-sided 1 − alpha: each side at alpha / 2."""
    mirrored = Range(-within.high, -within.low)
    low = betting_lower(values, within=within, groups=groups, alpha=alpha / 2, generator=generator)
    high = betting_lower(
        -values, within=mirrored, groups=groups, alpha=alpha / 2, generator=generator
    )
    return low, -high


def _units(
    values: np.ndarray, groups: Groups | None, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Sums and sizes of the independent units, in random order: bets may only look back."""
    if groups is None or groups.are_rows:
        return generator.permutation(values), np.ones(len(values))
    order = generator.permutation(groups.count)
    return groups.sums(values)[order], groups.sums(np.ones(len(values)))[order]


def _bets(sums: np.ndarray, sizes: np.ndarray, *, within: Range, alpha: float) -> np.ndarray:
    """Bet t from the units before it: sqrt(2 log(1/alpha) / (n × variance so far))."""
    n = len(sums)
    prior = max(within.width, 1e-12) ** 2 / 4
    total, seen = np.cumsum(sums), np.cumsum(sizes)
    mean = (total + (within.low + within.high) / 2) / (seen + 1)
    squares = np.cumsum((sums - mean * sizes) ** 2)
    variance = np.r_[prior, (prior + squares[:-1]) / np.arange(2, n + 1)]
    return np.sqrt(2 * np.log(1 / alpha) / (n * variance))


def _refuted(
    mean: float,
    sums: np.ndarray,
    sizes: np.ndarray,
    bets: np.ndarray,
    low: float,
    alpha: float,
) -> bool:
    """Whether betting against `mean` ever multiplies the capital by 1 / alpha."""
    worst = (mean - low) * sizes
    limited = np.minimum(bets, _LARGEST_BET / np.maximum(worst, 1e-300))
    capital = np.cumsum(np.log1p(limited * (sums - mean * sizes)))
    return bool(capital.max() >= np.log(1 / alpha))
