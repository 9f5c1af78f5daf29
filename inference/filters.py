"""Filters on product attributes, as tests over item codes. Numpy only; runs in a Lambda.

Attributes stand in the artefact's table `attributes`, by name, with their arrays named there:

    {"type": "category", "array": key, "values": [...]}       int32 (products,), -1 where missing
    {"type": "number", "array": key}                          float64 (products,), nan where missing
    {"type": "time", "array": key}                            the same, in epoch seconds
    {"type": "tags", "array": key, "indptr": key2, "values": [...]}
                        codes of all products' tags, int32, and where each product's begin, int64

Only the candidates of a decision are tested, and more of the trend's order only where too few of
them pass. A missing value matches no `in`, `min`, `max`, `any` or `all`, and every `not`.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import numpy as np

from inference.contracts import Condition, Filters, FilterValue
from inference.errors import BadRequestError
from inference.features import as_text
from inference.history import epoch_seconds
from inference.live_products import ProductState

Test = Callable[[np.ndarray], np.ndarray]
_LARGEST = 1e300  # a longer integer is no price, and no float either
_SAYS_NO = ("false", "no", "0")


def all_of(tests: Iterable[Test]) -> Test:
    """The test that is passed by what passes all of them."""
    chain = list(tests)

    def passes(items: np.ndarray) -> np.ndarray:
        mask = np.ones(len(items), dtype=bool)
        for test in chain:
            mask &= test(items)
        return mask

    return passes


def negated(test: Test) -> Test:
    return lambda items: ~test(items)


@dataclass(frozen=True)
class Attributes:
    """The attribute columns of a model, by name. `stock`, where anything was said of it since: int8
    (products,), 1 available, 0 not, -1 what the columns say."""

    specs: Mapping[str, Mapping[str, Any]]
    arrays: Mapping[str, np.ndarray]
    stock: np.ndarray | None = None
    _codes: dict[str, dict[str, int]] = field(default_factory=dict)

    def __contains__(self, name: object) -> bool:
        return name in self.specs

    def tests(self, filters: Filters, *, where: str) -> list[Test]:
        """One test for each filter; `where` is the filters' path in the request.

        Raises `BadRequestError` for an attribute that the model does not have or a condition that
        its type does not know.
        """
        return [
            self.test(name, condition, path=f"{where}.{name}")
            for name, condition in filters.items()
        ]

    def test(
        self, name: str, condition: FilterValue | list[FilterValue] | Condition, *, path: str
    ) -> Test:
        """The test for one attribute."""
        self.require(name, path=path)
        full = _condition(condition)
        column = _COLUMNS[self.specs[name]["type"]]
        return column(self, name, full, path)

    def require(self, name: str, *, path: str) -> None:
        """Raise `BadRequestError`, with the nearest name, if there is no such attribute."""
        if name in self.specs:
            return
        near = difflib.get_close_matches(name, self.specs, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {sorted(self.specs)}"
        raise BadRequestError(f"unknown attribute {name!r}; {hint}", path=path)

    def array(self, name: str, part: str = "array") -> np.ndarray:
        return self.arrays[self.specs[name][part]]

    def table(self, name: str, values: Iterable[FilterValue]) -> np.ndarray:
        """bool (values + 1,): which codes of a category or tag are wanted; -1, missing, is not."""
        known = self.specs[name]["values"]
        if name not in self._codes:
            self._codes[name] = {value: code for code, value in enumerate(known)}
        codes = [self._codes[name].get(as_text(value)) for value in values]
        table = np.zeros(len(known) + 1, dtype=bool)
        table[[code for code in codes if code is not None]] = True
        return table

    def available(self, now: datetime) -> list[Test]:
        """Tests of the attributes `available_from`, `available_until` and `in_stock`, as far as
        the model has them; a product that says nothing is available. What was said since counts
        for `in_stock`."""
        clock = epoch_seconds(now)
        tests: list[Test] = []
        if self._is("available_from", "time", "number"):
            start = self.array("available_from")
            tests.append(lambda items: ~(start.take(items) > clock))
        if self._is("available_until", "time", "number"):
            end = self.array("available_until")
            tests.append(lambda items: ~(end.take(items) < clock))
        trained, said = self._in_stock(), self.stock
        if said is None:
            return tests + trained
        otherwise = all_of(trained)
        tests.append(lambda items: (said.take(items) > 0) | _untold(said, items, otherwise))
        return tests

    def _in_stock(self) -> list[Test]:
        if self._is("in_stock", "number"):
            stock = self.array("in_stock")
            return [lambda items: ~(stock.take(items) <= 0)]
        if self._is("in_stock", "category"):
            return [negated(_category(self, "in_stock", Condition(in_=[*_SAYS_NO]), ""))]
        return []

    def changed_by(self, states: Sequence[ProductState], code_of: Mapping[str, int]) -> Attributes:
        """With what was said of products since; `code_of` gives their rows."""
        known = [state for state in states if state.product_id in code_of]
        told = [state for state in known if state.available is not None]
        stock = self.stock
        if told:
            stock = np.full(len(code_of), -1, dtype=np.int8) if stock is None else stock.copy()
            stock[[code_of[s.product_id] for s in told]] = [s.available for s in told]
        return replace(self, stock=stock, arrays=self._priced(known, code_of))

    def _priced(
        self, states: Sequence[ProductState], code_of: Mapping[str, int]
    ) -> Mapping[str, np.ndarray]:
        priced = [state for state in states if state.price is not None]
        if not priced or not self._is("price", "number"):
            return self.arrays
        prices = self.array("price").copy()
        prices[[code_of[s.product_id] for s in priced]] = [s.price for s in priced]
        return {**self.arrays, self.specs["price"]["array"]: prices}

    def _is(self, name: str, *types: str) -> bool:
        return name in self.specs and self.specs[name]["type"] in types


def _untold(stock: np.ndarray, items: np.ndarray, test: Test) -> np.ndarray:
    return (stock.take(items) < 0) & test(items)


def _condition(given: FilterValue | list[FilterValue] | Condition) -> Condition:
    if isinstance(given, Condition):
        return given
    return Condition(in_=given if isinstance(given, list) else [given])


def _category(attributes: Attributes, name: str, condition: Condition, path: str) -> Test:
    _refuse(condition, "category", path, "min", "max", "all")
    codes, tests = attributes.array(name), []
    for wanted in (condition.in_, condition.any):
        if wanted is not None:
            tests.append(_in_table(codes, attributes.table(name, wanted)))
    if condition.not_ is not None:
        unwanted = attributes.table(name, _as_list(condition.not_))
        tests.append(negated(_in_table(codes, unwanted)))
    return all_of(tests)


def _in_table(codes: np.ndarray, table: np.ndarray) -> Test:
    return lambda items: table.take(codes.take(items))


def _number(attributes: Attributes, name: str, condition: Condition, path: str) -> Test:
    kind = attributes.specs[name]["type"]
    _refuse(condition, kind, path, "all")
    column, tests = attributes.array(name), []
    convert = _epoch_of if kind == "time" else _number_of
    for wanted in (condition.in_, condition.any):
        if wanted is not None:
            tests.append(_equal_to_any(column, _numbers(wanted, convert)))
    if condition.not_ is not None:
        unwanted = _numbers(_as_list(condition.not_), convert)
        tests.append(negated(_equal_to_any(column, unwanted)))
    if condition.min is not None:
        low = _bound(condition.min, convert, f"{path}.min")
        tests.append(lambda items: column.take(items) >= low)
    if condition.max is not None:
        high = _bound(condition.max, convert, f"{path}.max")
        tests.append(lambda items: column.take(items) <= high)
    return all_of(tests)


def _equal_to_any(column: np.ndarray, numbers: list[float]) -> Test:
    return lambda items: np.isin(column.take(items), numbers)


def _numbers(
    values: Iterable[FilterValue], convert: Callable[[FilterValue], float | None]
) -> list[float]:
    return [number for value in values if (number := convert(value)) is not None]


def _bound(value: FilterValue, convert: Callable[[FilterValue], float | None], path: str) -> float:
    number = convert(value)
    if number is None:
        raise BadRequestError(f"{value!r} is no bound for this attribute", path=path)
    return number


def _number_of(value: FilterValue) -> float | None:
    return float(value) if isinstance(value, int | float) and abs(value) < _LARGEST else None


def _epoch_of(value: FilterValue) -> float | None:
    """Epoch seconds of a time in ISO 8601 or of a number."""
    if not isinstance(value, str):
        return _number_of(value)
    try:
        return epoch_seconds(datetime.fromisoformat(value))
    except ValueError:
        return None


def _tags(attributes: Attributes, name: str, condition: Condition, path: str) -> Test:
    _refuse(condition, "tags", path, "min", "max")
    tests = []
    for wanted in (condition.in_, condition.any):
        if wanted is not None:
            tests.append(_tag_count(attributes, name, attributes.table(name, wanted), 1))
    if condition.all is not None:
        wanted_all = list({as_text(value) for value in condition.all})
        table = attributes.table(name, wanted_all)
        tests.append(_tag_count(attributes, name, table, len(wanted_all)))
    if condition.not_ is not None:
        table = attributes.table(name, _as_list(condition.not_))
        tests.append(negated(_tag_count(attributes, name, table, 1)))
    return all_of(tests)


def _tag_count(attributes: Attributes, name: str, table: np.ndarray, least: int) -> Test:
    codes, indptr = attributes.array(name), attributes.array(name, "indptr")

    def passes(items: np.ndarray) -> np.ndarray:
        starts = indptr.take(items)
        lengths = indptr.take(items + 1) - starts
        place = np.repeat(np.arange(len(items)), lengths)
        offsets = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        hits = table.take(codes.take(np.repeat(starts, lengths) + offsets))
        return np.bincount(place, weights=hits, minlength=len(items)) >= least

    return passes


def _refuse(condition: Condition, kind: str, path: str, *names: str) -> None:
    for name in names:
        if getattr(condition, name) is not None:
            raise BadRequestError(f"a {kind} attribute knows no {name!r}", path=f"{path}.{name}")


def _as_list(value: FilterValue | list[FilterValue]) -> list[FilterValue]:
    return value if isinstance(value, list) else [value]


_COLUMNS: dict[str, Callable[[Attributes, str, Condition, str], Test]] = {
    "category": _category,
    "number": _number,
    "time": _number,
    "tags": _tags,
}
