"""What the columns of a context become: fitted here, applied by `inference.features.Encoder`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from inference.features import Feature, as_text

_QUANTILES = (0.25, 0.5, 0.75)
_BENDING = 10  # different values, from which on a number may bend


def features_of(columns: Mapping[str, pd.Series], *, maximum_categories: int) -> list[Feature]:
    """A feature for each column that tells anything, side by side.

    Numbers are standardised, filled with their mean and marked where any were missing; they may
    bend at their quartiles, since the effect of a nudge is rarely linear in recency or money, and
    the linear models' shrinkage pays for the columns. Categories keep their `maximum_categories`
    most frequent values. A column with a single value and none missing tells nothing and is left
    out.
    """
    features: list[Feature] = []
    start = 0
    for name, column in columns.items():
        feature = _feature(name, column, start, maximum_categories)
        if feature is not None:
            features.append(feature)
            start += feature.width
    return features


def _feature(name: str, column: pd.Series, start: int, maximum: int) -> Feature | None:
    missing = bool(column.isna().any())
    if column.nunique() + missing < 2:
        return None
    if pd.api.types.is_numeric_dtype(column):
        return _number(name, column.to_numpy(dtype=np.float64), start, missing=missing)
    texts = column.dropna().map(as_text)
    counts = (
        texts.value_counts().sort_index(kind="stable").sort_values(ascending=False, kind="stable")
    )
    values = sorted(counts.index[:maximum])
    return Feature(name=name, type="category", start=start, width=len(values) + 1, values=values)


def _number(name: str, values: np.ndarray, start: int, *, missing: bool) -> Feature:
    known = values[~np.isnan(values)]
    mean, scale = float(known.mean()), float(known.std()) or 1.0
    knots = [float((knot - mean) / scale) for knot in _knots(known)]
    return Feature(
        name=name,
        type="number",
        start=start,
        width=1 + len(knots) + missing,
        mean=mean,
        scale=scale,
        fill=mean,
        knots=knots,
    )


def _knots(values: np.ndarray) -> list[float]:
    """Quartiles inside the range, each once; none where there are few different values."""
    if len(np.unique(values)) < _BENDING:
        return []
    inside = np.unique(np.quantile(values, _QUANTILES))
    return [float(q) for q in inside if values.min() < q < values.max()]
