"""The context of a nudge as a vector: what training saw decides the columns. Runs in a Lambda.

Numbers are standardised, missing ones filled (and marked, where training saw any missing);
categories are one-hot with a last column for missing and unseen values. One context at a time for
a decision, columns of many for training: the same numbers either way (a test says so).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from inference.errors import ArtifactError, BadRequestError

ContextValue = str | int | float | bool | None
Context = Mapping[str, ContextValue]
# Standard deviations; beyond it a number is a mistake, and products of two could overflow.
FARTHEST = 1e6


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A context column and its place in the vector: `start`, `width`.

    A number is `(value - mean) / scale`, `fill` (in the number's own unit) where missing; with
    `width` 2 its second column says 1 where it was missing. A category has `len(values) + 1`
    columns, the last for missing and unseen values.
    """

    name: str
    type: Literal["number", "category"]
    start: int
    width: int
    mean: float = 0.0
    scale: float = 1.0
    fill: float = 0.0
    values: list[str] = []


class Encoder:
    """Features → vectors of `width` columns. Raises `ArtifactError` for columns that overlap."""

    def __init__(self, features: Sequence[Feature]) -> None:
        _check(features)
        self.features = list(features)
        self.width = sum(feature.width for feature in features)
        self._names = {feature.name: None for feature in features}
        self._numbers = {
            f.name: (f.start, f.mean, f.scale, f.start + 1 if f.width == 2 else None)
            for f in features
            if f.type == "number"
        }
        self._codes = {
            f.name: {value: code for code, value in enumerate(f.values)}
            for f in features
            if f.type == "category"
        }
        self._starts = {f.name: (f.start, f.start + f.width - 1) for f in features}
        self._missing = [0.0] * self.width
        for feature in features:
            self._missing[feature.start + feature.width - 1] = 1.0
            if feature.type == "number":
                filled = (feature.fill - feature.mean) / feature.scale
                self._missing[feature.start] = _bounded(filled)

    def encode(self, context: Context) -> np.ndarray:
        """One context, (width,). A name that is no feature is skipped (see `unknown`).

        Raises `BadRequestError` for a text where training saw numbers.
        """
        vector = self._missing.copy()
        numbers, codes = self._numbers, self._codes
        for name, value in context.items():
            if value is None:
                continue
            if name in numbers:
                start, mean, scale, flag = numbers[name]
                number = value if type(value) is float else _number(name, value)
                vector[start] = _bounded((number - mean) / scale)
                if flag is not None:
                    vector[flag] = 0.0
            elif name in codes:
                code = codes[name].get(value if type(value) is str else as_text(value))
                if code is not None:
                    start, other = self._starts[name]
                    vector[other] = 0.0
                    vector[start + code] = 1.0
        return np.array(vector)

    def encode_columns(self, columns: Mapping[str, Any], count: int) -> np.ndarray:
        """`count` contexts as columns of values (arrays, Series, lists), (count, width).

        An absent column is missing everywhere; None and nan are missing.
        """
        matrix = np.tile(np.array(self._missing), (count, 1))
        for feature in self.features:
            if feature.name not in columns:
                continue
            column = columns[feature.name]
            if feature.type == "number":
                self._fill_numbers(matrix, feature, column)
            else:
                self._fill_categories(matrix, feature, column)
        return matrix

    def _fill_numbers(self, matrix: np.ndarray, feature: Feature, column: Any) -> None:
        values = np.asarray(column, dtype=np.float64)
        known = ~np.isnan(values)
        scaled = (values[known] - feature.mean) / feature.scale
        matrix[known, feature.start] = np.clip(scaled, -FARTHEST, FARTHEST)
        if feature.width == 2:
            matrix[known, feature.start + 1] = 0.0

    def _fill_categories(self, matrix: np.ndarray, feature: Feature, column: Any) -> None:
        code_of, other = self._codes[feature.name], feature.width - 1
        codes = [other if _absent(v) else code_of.get(as_text(v), other) for v in column]
        block = matrix[:, feature.start : feature.start + feature.width]
        block[:] = 0.0
        block[np.arange(len(codes)), codes] = 1.0

    def unknown(self, context: Context) -> list[str]:
        """Names in the context that the model has no use for."""
        return [name for name in context if name not in self._names]

    def missing(self, context: Context) -> list[str]:
        """Features that the context does not tell."""
        return [name for name in self._names if context.get(name) is None]


def as_text(value: Any) -> str:
    """A category's value as text: `true`, `7` (also for 7.0), `web`."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


def _absent(value: Any) -> bool:
    return value is None or value != value


def _number(name: str, value: ContextValue) -> float:
    if isinstance(value, str) or value is None:
        raise BadRequestError(f"expected a number, got {value!r}", path=f"$.context.{name}")
    try:
        return float(value)
    except OverflowError as error:
        raise BadRequestError("the number is too large", path=f"$.context.{name}") from error


def _bounded(scaled: float) -> float:
    return -FARTHEST if scaled < -FARTHEST else FARTHEST if scaled > FARTHEST else scaled


def _check(features: Sequence[Feature]) -> None:
    end = 0
    for feature in features:
        widths = (1, 2) if feature.type == "number" else (len(feature.values) + 1,)
        if feature.start != end or feature.width not in widths:
            raise ArtifactError(
                f"feature {feature.name!r}: columns {feature.start} + {feature.width}; "
                f"expected them to start at {end} with a width of {' or '.join(map(str, widths))}"
            )
        if feature.type == "number" and not (feature.scale > 0 and np.isfinite(feature.fill)):
            raise ArtifactError(f"feature {feature.name!r}: scale must be > 0 and fill finite")
        end += feature.width
