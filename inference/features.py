"""The context of a nudge as a vector: what training saw decides the columns. Runs in a Lambda.

Numbers are standardised, missing ones filled (and marked, where training saw any missing), and may
bend at knots; categories are one-hot with a last column for missing and unseen values. One context
at a time for a decision, columns of many for training: the same numbers either way (a test says
so).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np

from inference.errors import ArtifactError, BadRequestError

ContextValue = str | int | float | bool | None
Context = Mapping[str, ContextValue]
# Standard deviations; beyond it a number is a mistake, and products of two could overflow.
FARTHEST = 1e6


class Feature(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A context column and its place in the vector: `start`, `width`.

    A number is `(value - mean) / scale`, `fill` (in the number's own unit) where missing; then a
    column `max(that - knot, 0)` for each of `knots` (standardised too), so that a linear model can
    bend; then, where training saw any missing, one that says 1 where it was. A category has
    `len(values) + 1` columns, the last for missing and unseen values.
    """

    name: str
    type: Literal["number", "category"]
    start: int
    width: int
    mean: float = 0.0
    scale: float = 1.0
    fill: float = 0.0
    knots: list[float] = []
    values: list[str] = []

    @property
    def marks_missing(self) -> bool:
        """Whether the last column says that the value was missing."""
        return self.type == "category" or self.width == 2 + len(self.knots)


class _Place(NamedTuple):
    """Where a feature's columns are, and how its value gets there; `codes` of a category."""

    start: int
    last: int
    codes: dict[str, int] | None
    mean: float
    scale: float
    knots: list[float]


def _place(feature: Feature) -> _Place:
    codes = None
    if feature.type == "category":
        codes = {value: code for code, value in enumerate(feature.values)}
    last = feature.start + feature.width - 1
    return _Place(feature.start, last, codes, feature.mean, feature.scale, feature.knots)


class Encoder:
    """Features → vectors of `width` columns. Raises `ArtifactError` for columns that overlap."""

    def __init__(self, features: Sequence[Feature]) -> None:
        _check(features)
        self.features = list(features)
        self.width = sum(feature.width for feature in features)
        self._places = {f.name: _place(f) for f in features}
        self._missing = [0.0] * self.width
        for feature in features:
            if feature.type == "number":
                filled = _bounded((feature.fill - feature.mean) / feature.scale)
                _bend(self._missing, feature.start, filled, feature.knots)
            if feature.marks_missing:
                self._missing[feature.start + feature.width - 1] = 1.0

    def encode(self, context: Context) -> np.ndarray:
        """One context, (width,). A name that is no feature is skipped (see `gaps`).

        Raises `BadRequestError` for a text where training saw numbers.
        """
        vector, places = self._missing.copy(), self._places
        for name, value in context.items():
            place = places.get(name)
            if value is None or place is None:
                continue
            start, last, codes, mean, scale, knots = place
            if codes is None:
                number = value if type(value) is float else _number(name, value)
                scaled = _bounded((number - mean) / scale)
                vector[last] = 0.0  # the mark of a missing value, where there is one
                vector[start] = scaled
                if knots:
                    _bend(vector, start, scaled, knots)
            else:
                code = codes.get(value if type(value) is str else as_text(value))
                if code is not None:
                    vector[last] = 0.0
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
        scaled = np.clip((values[known] - feature.mean) / feature.scale, -FARTHEST, FARTHEST)
        matrix[known, feature.start] = scaled
        for place, knot in enumerate(feature.knots, start=feature.start + 1):
            matrix[known, place] = np.maximum(scaled - knot, 0.0)
        if feature.marks_missing:
            matrix[known, feature.start + feature.width - 1] = 0.0

    def _fill_categories(self, matrix: np.ndarray, feature: Feature, column: Any) -> None:
        code_of, other = self._places[feature.name].codes or {}, feature.width - 1
        codes = [other if _absent(v) else code_of.get(as_text(v), other) for v in column]
        block = matrix[:, feature.start : feature.start + feature.width]
        block[:] = 0.0
        block[np.arange(len(codes)), codes] = 1.0

    def gaps(self, context: Context) -> tuple[list[str], list[str]]:
        """Names in the context that are no feature, and features that it does not tell."""
        places = self._places
        if context.keys() == places.keys() and None not in context.values():
            return [], []
        unknown = [name for name in context if name not in places]
        return unknown, [name for name in places if context.get(name) is None]


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


def _bend(vector: list[float], start: int, scaled: float, knots: Sequence[float]) -> None:
    """A standardised number and what of it lies beyond each knot."""
    vector[start] = scaled
    for place, knot in enumerate(knots, start=start + 1):
        vector[place] = scaled - knot if scaled > knot else 0.0


def _check(features: Sequence[Feature]) -> None:
    end = 0
    for feature in features:
        bends = len(feature.knots)
        is_number = feature.type == "number"
        widths = (1 + bends, 2 + bends) if is_number else (len(feature.values) + 1,)
        if feature.start != end or feature.width not in widths:
            raise ArtifactError(
                f"feature {feature.name!r}: columns {feature.start} + {feature.width}; "
                f"expected them to start at {end} with a width of {' or '.join(map(str, widths))}"
            )
        numbers = (feature.mean, feature.scale, feature.fill, *feature.knots)
        if not (np.isfinite(numbers).all() and feature.scale > 0):
            raise ArtifactError(f"feature {feature.name!r}: numbers must be finite and scale > 0")
        end += feature.width
