"""Whatever the model, history and filters: top k equals a dense computation of the formula."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference.contracts import HistoryEvent, ProductRequest
from inference.recommender import Recommender, ServingParameters
from tests.unit.inference import small_model
from tests.unit.inference.small_model import COLOUR_CODES, COLOURS, NOW, PRICES, PRODUCTS

N = len(PRODUCTS)
SHARES = st.floats(0, 1, width=32, allow_subnormal=False)
WEIGHTS = st.sampled_from([0.0, 0.1, 1.0, 2.5])
EVENTS = st.builds(
    HistoryEvent,
    product_id=st.sampled_from([*PRODUCTS, "unheard of"]),
    event=st.sampled_from(["purchase", "view", "return"]),
    timestamp=st.none() | st.integers(-5, 900).map(lambda days: NOW - timedelta(days=days)),
)
COLOUR_FILTERS = st.fixed_dictionaries(
    {}, optional={"colour": st.lists(st.sampled_from([*COLOURS, "pink"]), max_size=2)}
)
PRICE_FILTERS = st.fixed_dictionaries({}, optional={"price": st.sampled_from([1, 2.0, 5, 9])})
FILTERS = st.builds(lambda a, b: {**a, **b}, COLOUR_FILTERS, PRICE_FILTERS)
REQUESTS = st.builds(
    ProductRequest,
    history=st.lists(EVENTS | st.sampled_from(PRODUCTS), max_size=8),
    limit=st.integers(1, N + 1),
    include=FILTERS,
    exclude=FILTERS,
    exclude_products=st.lists(st.sampled_from([*PRODUCTS, "gone"]), max_size=2),
    exclude_purchased=st.booleans(),
    context_product=st.none() | st.sampled_from([*PRODUCTS, "unheard of"]),
)
MODELS = st.builds(
    lambda matrix, trend, serving: small_model.recommender(
        matrix=matrix * (1 - np.eye(N)), trend=trend, serving=serving
    ),
    hnp.arrays(np.float32, (N, N), elements=SHARES | st.just(0.0)),
    hnp.arrays(np.float32, N, elements=SHARES),
    st.fixed_dictionaries(
        {
            "repeat_weight": WEIGHTS,
            "trend_weight": WEIGHTS,
            "decay": st.sampled_from([0.5, 0.9, 1.0]),
            "history_length": st.integers(1, 5),
            "event_weights": st.just({"view": 0.25, "return": 0.0}),
            "exclude_seen": st.booleans(),
        }
    ),
)


def events_of(request: ProductRequest) -> list[HistoryEvent]:
    events = [e if isinstance(e, HistoryEvent) else HistoryEvent(e) for e in request.history]
    return [event for event in events if event.product_id in PRODUCTS]


def dense_scores(model: Recommender, request: ProductRequest) -> np.ndarray:
    """The formula of the module's docstring, one product and one event at a time."""
    p, scores = model.parameters, np.zeros(N)
    rows = [np.zeros(N) for _ in range(N)]
    for row in range(N):
        codes, scale = model.neighbours.recent[row], float(model.neighbours.recent_scale[row])
        for target, code in zip(model.neighbours.targets[row], codes, strict=True):
            rows[row][target] += float(code) * scale
    known = events_of(request) or request.context_product in PRODUCTS
    trend = (p.trend_weight if known else p.trend_weight or 1.0) * model.trend
    if request.context_product in PRODUCTS:
        return rows[PRODUCTS.index(str(request.context_product))] + trend
    events = events_of(request)
    weight_of = [p.event_weights.get(e.event, p.default_event_weight) for e in events]
    total = 0.0
    for back, (event, weight) in enumerate(zip(events[::-1], weight_of[::-1], strict=True)):
        if back < p.history_length:
            scores += weight * p.decay**back * rows[PRODUCTS.index(event.product_id)]
            total += weight * p.decay**back
    scores = scores / total if total else np.zeros(N)
    return scores + repeat_part(p, events, weight_of) + trend


def repeat_part(
    parameters: ServingParameters, events: list[HistoryEvent], weights: list[float]
) -> np.ndarray:
    recency = np.zeros(N)
    for back, (event, weight) in enumerate(zip(events[::-1], weights[::-1], strict=True)):
        share = parameters.repeat_decay**back
        if event.timestamp is not None:
            days = max(0.0, (NOW - event.timestamp) / timedelta(days=1))
            share = 0.5 ** (days / parameters.repeat_half_life_days)
        recency[PRODUCTS.index(event.product_id)] += weight * share
    return parameters.repeat_weight * recency / recency.max() if recency.max() > 0 else recency


def allowed_products(model: Recommender, request: ProductRequest) -> set[str]:
    def matches(code: int, filters: dict[str, Any], attribute: str) -> bool:
        wanted = filters[attribute]
        if attribute == "price":
            return bool(PRICES[code] == wanted)
        return COLOUR_CODES[code] >= 0 and COLOURS[COLOUR_CODES[code]] in wanted

    events = events_of(request)
    banned = {*request.exclude_products, request.context_product}
    if model.parameters.exclude_seen:
        banned |= {event.product_id for event in events}
    if request.exclude_purchased:
        banned |= {event.product_id for event in events if event.event == "purchase"}
    return {
        product
        for code, product in enumerate(PRODUCTS)
        if product not in banned
        and all(matches(code, request.include, name) for name in request.include)
        and not any(matches(code, request.exclude, name) for name in request.exclude)
    }


@settings(max_examples=60, deadline=None)
@given(model=MODELS, request=REQUESTS)
def test_top_k_equals_a_dense_computation(model: Recommender, request: ProductRequest) -> None:
    found = model.recommend(request, now=NOW).products
    scores = dense_scores(model, request)
    allowed = allowed_products(model, request)
    expected = sorted((scores[PRODUCTS.index(product)] for product in allowed), reverse=True)
    ids = [product.product_id for product in found]
    assert len(set(ids)) == len(ids)
    assert set(ids) <= allowed
    assert [p.score for p in found] == pytest.approx(expected[: request.limit], abs=1e-9)
    assert [p.score for p in found] == pytest.approx(
        [scores[PRODUCTS.index(product)] for product in ids], abs=1e-9
    )


@settings(max_examples=60, deadline=None)
@given(model=MODELS, request=REQUESTS)
def test_reasons_sum_to_the_score(model: Recommender, request: ProductRequest) -> None:
    for product in model.recommend(request, now=NOW).products:
        parts = sum(reason.contribution for reason in product.reasons)
        assert product.reasons
        assert parts == pytest.approx(product.score, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(model=MODELS, request=REQUESTS)
def test_unknown_products_are_reported_once_and_in_order(
    model: Recommender, request: ProductRequest
) -> None:
    named = [e if isinstance(e, str) else e.product_id for e in request.history]
    unheard = "unheard of" in [*named, request.context_product]
    unknown = ["unheard of"] * unheard + ["gone"] * ("gone" in request.exclude_products)
    answer = model.recommend(request, now=NOW)
    assert answer.unknown_products == unknown
    assert (answer.empty_reason is None) == bool(answer.products)
