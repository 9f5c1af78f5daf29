"""Drift: what is new beside what was learned from so far. Pure; called by a sync.

The population stability index of two samples over bins, sum (p - q) ln(p / q), is 0 where they
are alike; above 0.25 is the usual word for a shift (Siddiqi 2006, "Credit Risk Scorecards"). Two
samples of one population differ too, by (bins - 1)(1/n + 1/m) on average (Yurdakul 2018): that
much counts for nothing.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pandas as pd

MINIMUM_ROWS = 100
_BINS = 10
_LEAST = 1e-4
_DAY_SECONDS = 86_400.0
_MISSING, _OTHER = "\0missing", "\0other"


@dataclass(frozen=True)
class Shift:
    """`stability` is the index, `chance` what two samples of one population would have."""

    stability: float
    chance: float

    @property
    def drift(self) -> float:
        return max(self.stability - self.chance, 0.0)


@dataclass(frozen=True)
class Drift:
    """New rows beside the ones before. A share or ratio is None where there is nothing to compare.

    `volume_ratio` is interactions a day, new by before. `shifts` is by what was compared: `event`,
    `action`, a column of the context.
    """

    volume_ratio: float | None = None
    unknown_products: float | None = None
    unknown_customers: float | None = None
    shifts: dict[str, Shift] = field(default_factory=dict)

    @property
    def largest(self) -> float:
        """The greatest drift of all that was compared; 0 where nothing was."""
        return max((shift.drift for shift in self.shifts.values()), default=0.0)

    def as_json(self) -> dict[str, Any]:
        shifts = {
            name: {key: round(value, 4) for key, value in {**asdict(s), "drift": s.drift}.items()}
            for name, s in self.shifts.items()
        }
        return {**asdict(self), "shifts": shifts, "largest": round(self.largest, 4)}


def drift_of(
    before: pd.DataFrame,
    new: pd.DataFrame,
    *,
    products: pd.Series | None,
    nudges_before: pd.DataFrame,
    nudges_new: pd.DataFrame,
) -> Drift:
    """Compare interactions (`customer_id, product_id, event, timestamp`) and nudges (`action`,
    context columns). `products` are the ids of the catalogue; without one, those seen before."""
    shifts = _shifts(before[["event"]], new[["event"]]) | _shifts(nudges_before, nudges_new)
    if not len(before) or not len(new):
        return Drift(shifts=shifts)
    known = before["product_id"] if products is None else products
    return Drift(
        volume_ratio=round(_a_day(new) / _a_day(before), 4),
        unknown_products=_share_unknown(new["product_id"], known),
        unknown_customers=_share_unknown(new["customer_id"], before["customer_id"]),
        shifts=shifts,
    )


def _a_day(interactions: pd.DataFrame) -> float:
    """Rows a day, of a day at least: an hour's rows say little of a day's."""
    span = interactions["timestamp"].max() - interactions["timestamp"].min()
    return len(interactions) / max(span.total_seconds() / _DAY_SECONDS, 1.0)


def _share_unknown(values: pd.Series, known: pd.Series) -> float:
    return round(float((~values.isin(set(known))).mean()), 4)


def _shifts(before: pd.DataFrame, new: pd.DataFrame) -> dict[str, Shift]:
    """By column of both; none where either has too few rows to say."""
    if min(len(before), len(new)) < MINIMUM_ROWS:
        return {}
    names = [str(column) for column in before.columns if column in new.columns]
    return {name: stability(before[name], new[name]) for name in names}


def stability(before: pd.Series, new: pd.Series) -> Shift:
    """The index of two samples: numbers by tenths of `before`, else by category; what is missing
    is a bin of its own."""
    p, q = _shares(*_coded(before, new))
    used = (p > 0) | (q > 0)
    p, q = (np.maximum(share[used], _LEAST) for share in (p, q))
    index = float(((q - p) * np.log(q / p)).sum())
    chance = (int(used.sum()) - 1) * (1 / len(before) + 1 / len(new))
    return Shift(stability=index, chance=chance)


def _shares(before: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    size = int(max(before.max(), new.max())) + 1
    counts = (np.bincount(codes, minlength=size) for codes in (before, new))
    first, second = counts
    return first / first.sum(), second / second.sum()


def _coded(before: pd.Series, new: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Bins of both, 0 where a value is missing."""
    if pd.api.types.is_numeric_dtype(before) and not pd.api.types.is_bool_dtype(before):
        numbers = pd.to_numeric(new, errors="coerce").astype("float64")
        inside = before.dropna().astype("float64")
        edges = (
            np.unique(np.quantile(inside, np.linspace(0, 1, _BINS + 1)[1:-1]))
            if len(inside)
            else np.zeros(0)
        )
        return _binned(before.astype("float64"), edges), _binned(numbers, edges)
    texts = [
        column.astype(object).where(column.notna(), _MISSING).astype(str)
        for column in (before, new)
    ]
    common = texts[0].value_counts().index[: 2 * _BINS]
    kept = [text.where(text.isin([*common, _MISSING]), _OTHER) for text in texts]
    codes = pd.factorize(pd.concat(kept))[0]
    return codes[: len(before)], codes[len(before) :]


def _binned(values: pd.Series, edges: np.ndarray) -> np.ndarray:
    codes = np.searchsorted(edges, values.to_numpy(), side="right") + 1
    return np.where(values.isna(), 0, codes)
