"""What a request asks of this model: sources, exclusions, filters, in item codes.

Runs in a Lambda; called by `inference.recommender`. Products that the model does not know are
skipped and reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import chain

import msgspec
import numpy as np

from inference.contracts import ProductRequest
from inference.filters import Attributes, Test, all_of, negated
from inference.history import (
    NO_ITEMS,
    NO_VALUES,
    History,
    Sources,
    context_sources,
    epoch_seconds,
    history_sources,
    read_history,
    repeat_part,
    similar_sources,
)
from inference.parameters import REPEAT_WEIGHT_OF_BUY_AGAIN, ServingParameters

_TREND_ALONE = 1.0


class Catalogue(msgspec.Struct, frozen=True):
    """The products of a model, and whether its matrix has lasting values."""

    product_ids: Sequence[str]
    titles: Sequence[str | None] | None
    attributes: Attributes
    code_of: Mapping[str, int]
    has_lasting: bool

    def codes(self, products: Iterable[str]) -> list[int]:
        """Distinct codes of the known ones, in order."""
        found = (self.code_of.get(product) for product in products)
        return list(dict.fromkeys(code for code in found if code is not None))


class Question(msgspec.Struct, frozen=True):
    """A request in the model's terms.

    `repeats` are products and their part of the score; `fills` tells whether products that nothing
    personal speaks for may fill the list; `banned` and `only` are item codes; `allowed` tests the
    filters; `personal` whether anything in the request was known.
    """

    sources: Sources
    repeats: tuple[np.ndarray, np.ndarray]
    trend_weight: float
    fills: bool
    banned: list[int]
    only: np.ndarray | None
    allowed: Test | None
    unknown: list[str]
    personal: bool
    clock: float


def read_question(
    request: ProductRequest,
    catalogue: Catalogue,
    *,
    parameters: ServingParameters,
    now: datetime,
) -> Question:
    """Raises `BadRequestError` for a filter on an attribute that the model does not know."""
    history = read_history(
        request.history,
        catalogue.code_of,
        event_weights=request.event_weights,
        parameters=parameters,
        now=now,
    )
    subjects = _subjects(request)
    about = catalogue.codes(subjects)
    sources = _sources(request, history, about, catalogue, parameters)
    tests = _tests(request, catalogue.attributes, now)
    repeats = _repeats(request, history, sources, parameters)
    personal = len(sources.items) > 0 or len(repeats[0]) > 0
    lists = request.products, request.include_products or (), request.exclude_products
    named = [*history.unknown, *_unknown(chain(subjects, *lists), catalogue)]
    return Question(
        sources=sources,
        repeats=repeats,
        trend_weight=_trend_weight(request, parameters, personal=personal),
        fills=request.decision == "trending"
        or (request.decision != "similar" and request.fallback == "trend"),
        banned=about + _banned(request, history, catalogue, parameters),
        only=_only(request, history, catalogue, parameters),
        allowed=all_of(tests) if tests else None,
        unknown=list(dict.fromkeys(named)),
        personal=personal or request.decision == "trending",
        clock=epoch_seconds(now),
    )


def _subjects(request: ProductRequest) -> list[str]:
    """The products that the question is about, beside the history."""
    if request.decision == "similar":
        return [request.product] if request.product is not None else []
    single = [] if request.context_product is None else [request.context_product]
    return [*single, *request.context_products]


def _unknown(products: Iterable[str], catalogue: Catalogue) -> list[str]:
    return [product for product in products if product not in catalogue.code_of]


def _sources(
    request: ProductRequest,
    history: History,
    about: Sequence[int],
    catalogue: Catalogue,
    parameters: ServingParameters,
) -> Sources:
    if request.decision == "trending":
        return context_sources([], parameters)
    if request.decision == "similar":
        return similar_sources(about, lasting=catalogue.has_lasting)
    if about:
        return context_sources(about, parameters)
    return history_sources(history, parameters, lasting=catalogue.has_lasting)


def _repeats(
    request: ProductRequest, history: History, sources: Sources, parameters: ServingParameters
) -> tuple[np.ndarray, np.ndarray]:
    if sources.kind != "history":
        return NO_ITEMS, NO_VALUES
    weight = parameters.repeat_weight
    if request.buy_again:
        weight = weight or REPEAT_WEIGHT_OF_BUY_AGAIN
    return repeat_part(history, parameters, weight=weight)


def _trend_weight(
    request: ProductRequest, parameters: ServingParameters, *, personal: bool
) -> float:
    """The trend says nothing about likeness, and has the word where nothing else speaks."""
    if request.decision == "similar":
        return 0.0
    if request.decision == "trending":
        return _TREND_ALONE
    weight = parameters.trend_weight
    if parameters.new_trend_weight is not None and (
        request.exclude_seen or request.exclude_purchased
    ):
        weight = parameters.new_trend_weight
    return weight if personal else weight or _TREND_ALONE


def _banned(
    request: ProductRequest,
    history: History,
    catalogue: Catalogue,
    parameters: ServingParameters,
) -> list[int]:
    banned = catalogue.codes(request.exclude_products)
    seen = request.exclude_seen
    if seen is None:
        seen = parameters.exclude_seen and _leaves_out_seen(request)
    if seen:
        banned += history.codes
    if request.exclude_purchased:
        banned += history.items(history.purchased)
    if request.repeat_after_days is not None:
        recently = ~(history.ages >= request.repeat_after_days)
        banned += history.items(history.purchased & recently)
    return banned


def _leaves_out_seen(request: ProductRequest) -> bool:
    """Whether the model's own "nothing seen before" fits the question."""
    return request.decision == "next-best-product" and not request.buy_again


def _only(
    request: ProductRequest,
    history: History,
    catalogue: Catalogue,
    parameters: ServingParameters,
) -> np.ndarray | None:
    """Distinct codes of the products that may be shown, None for all."""
    lists: list[np.ndarray] = []
    if request.decision == "rank":
        lists.append(np.array(catalogue.codes(request.products), dtype=np.int64))
    if request.include_products is not None:
        lists.append(np.array(catalogue.codes(request.include_products), dtype=np.int64))
    if request.buy_again:
        lists.append(np.array(sorted({*history.items(history.purchased)}), dtype=np.int64))
    if not lists:
        return None
    found = lists[0]
    for other in lists[1:]:
        found = found[np.isin(found, other)]
    return found


def _tests(request: ProductRequest, attributes: Attributes, now: datetime) -> list[Test]:
    tests = attributes.tests(request.include, where="$.include")
    tests += [negated(t) for t in attributes.tests(request.exclude, where="$.exclude")]
    return tests if request.include_unavailable else tests + attributes.available(now)


_NARROWING = (
    "include",
    "exclude",
    "include_products",
    "exclude_products",
    "exclude_purchased",
    "exclude_seen",
    "repeat_after_days",
    "buy_again",
    "minimum_score",
)


def why_empty(request: ProductRequest) -> str:
    """What was asked that may have left nothing."""
    used = []
    for name in _NARROWING:
        value = getattr(request, name)
        if value is None or value is False or value == {} or value == []:
            continue
        used.append(f"{name} {_short(value)}" if isinstance(value, dict) else name)
    return f"no product is left after: {', '.join(used) or _why_else(request)}"


def _short(filters: object) -> str:
    return str(msgspec.to_builtins(filters))


def _why_else(request: ProductRequest) -> str:
    if request.decision == "similar":
        return f"what is like {request.product!r}"
    if request.decision == "rank":
        return "the given products"
    return "the context product" if _subjects(request) else "availability and fallback"
