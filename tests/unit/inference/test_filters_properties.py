"""Under any filter, list and exclusion, the top k is what brute force finds."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.contracts import decode_request
from inference.errors import BadRequestError
from inference.filters import Attributes
from tests.unit.inference import shop_model
from tests.unit.inference.shop_model import BRANDS, IDS, NOW, TAGS, Shop

SHOPS = [shop_model.shop(seed) for seed in range(3)]
PRICES = st.integers(0, 9)
DATES = st.integers(-10, 90).map(lambda days: (NOW + timedelta(days=days)).isoformat())
brand = st.sampled_from([*BRANDS, "dogwood"])
tag = st.sampled_from([*TAGS, "blue"])


def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(values, min_size=1, max_size=3, unique=True)


def conditions(**kinds: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=kinds)


FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "brand": brand
        | some(brand)
        | conditions(**{"in": some(brand), "not": brand | some(brand), "any": some(brand)}),
        "price": PRICES
        | conditions(**{"min": PRICES, "max": PRICES, "not": some(PRICES), "in": some(PRICES)}),
        "tags": tag
        | conditions(**{"any": some(tag), "all": some(tag), "not": some(tag), "in": some(tag)}),
        "available_from": conditions(min=DATES, max=DATES),
    },
)
EVENTS = st.tuples(st.sampled_from(IDS), st.sampled_from(["purchase", "view"]))
REQUESTS = st.fixed_dictionaries(
    {"history": st.lists(EVENTS, max_size=9), "limit": st.sampled_from([1, 5, 12, 40])},
    optional={
        "include": FILTERS,
        "exclude": FILTERS,
        "include_unavailable": st.booleans(),
        "include_products": st.lists(st.sampled_from([*IDS, "gone"]), max_size=15),
        "exclude_products": st.lists(st.sampled_from([*IDS, "gone"]), max_size=15),
        "exclude_purchased": st.booleans(),
        "exclude_seen": st.booleans(),
    },
)


def as_request(fields: dict[str, Any]) -> dict[str, Any]:
    events = [{"product_id": product, "event": event} for product, event in fields["history"]]
    return {**fields, "history": events}


def left(shop: Shop, fields: dict[str, Any]) -> set[int]:
    """What the request's words leave, product by product."""
    banned = set(fields.get("exclude_products", []))
    if fields.get("exclude_seen"):
        banned |= {product for product, _ in fields["history"]}
    if fields.get("exclude_purchased"):
        banned |= {product for product, event in fields["history"] if event == "purchase"}
    return {
        code
        for code, item in enumerate(shop.products)
        if IDS[code] not in banned
        and IDS[code] in fields.get("include_products", IDS)
        and (fields.get("include_unavailable") or shop_model.is_available(item))
        and all(shop_model.matches(item, *f) for f in fields.get("include", {}).items())
        and not any(shop_model.matches(item, *f) for f in fields.get("exclude", {}).items())
    }


@settings(max_examples=300, deadline=None)
@given(shop=st.sampled_from(SHOPS), fields=REQUESTS)
def test_top_k_equals_brute_force_under_every_filter(shop: Shop, fields: dict[str, Any]) -> None:
    answer = shop.model.recommend(decode_request(as_request(fields)), now=NOW)
    scores, allowed = shop_model.scores(shop, fields["history"]), left(shop, fields)
    if not fields["history"]:
        scores = shop.parameters["trend_weight"] * shop.trend
    found = [IDS.index(product.product_id) for product in answer.products]
    expected = sorted((scores[code] for code in allowed), reverse=True)[: fields["limit"]]
    assert len(set(found)) == len(found)
    assert set(found) <= allowed
    assert [p.score for p in answer.products] == pytest.approx(expected, abs=1e-9)
    assert [scores[code] for code in found] == pytest.approx(expected, abs=1e-9)
    assert (answer.empty_reason is None) == bool(found)


@settings(max_examples=100, deadline=None)
@given(shop=st.sampled_from(SHOPS), fields=REQUESTS)
def test_reasons_sum_to_the_score_and_slots_are_certain(shop: Shop, fields: dict[str, Any]) -> None:
    for product in shop.model.recommend(decode_request(as_request(fields)), now=NOW).products:
        parts = sum(reason.contribution for reason in product.reasons)
        assert parts == pytest.approx(product.score, abs=1e-9)
        assert product.propensity == 1.0


@pytest.mark.parametrize(
    ("filters", "path"),
    [
        ({"brand": {"min": 3}}, "$.include.brand.min"),
        ({"brand": {"all": ["ash"]}}, "$.include.brand.all"),
        ({"price": {"min": "cheap"}}, "$.include.price.min"),
        ({"price": {"all": [1]}}, "$.include.price.all"),
        ({"tags": {"max": 1}}, "$.include.tags.max"),
        ({"available_from": {"min": "tomorrow"}}, "$.include.available_from.min"),
    ],
)
def test_a_condition_that_an_attribute_does_not_know_is_named(
    filters: dict[str, Any], path: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        SHOPS[0].model.recommend(decode_request({"include": filters}), now=NOW)
    assert caught.value.path == path


@pytest.mark.parametrize("wanted", ["2", 2, 2.0, {"in": [2.0]}, {"not": ["M", True]}])
def test_a_number_names_the_category_of_its_text(wanted: Any) -> None:
    """Regression: 2.0, which many a client writes for 2, was looked for as "2.0"."""
    spec = {"type": "category", "array": "a_size", "values": ["2", "M", "true"]}
    attributes = Attributes({"size": spec}, {"a_size": np.array([1, 0, 2], dtype=np.int32)})
    include = decode_request({"include": {"size": wanted}}).include
    [test] = attributes.tests(include, where="$.include")
    assert test(np.arange(3)).tolist() == [False, True, False]


def test_a_tag_is_found_by_its_number() -> None:
    spec = {"type": "tags", "array": "t", "indptr": "starts", "values": ["2", "red"]}
    arrays = {"t": np.array([0, 1], dtype=np.int32), "starts": np.array([0, 2])}
    include = decode_request({"include": {"tags": {"all": [2.0, "red", 2]}}}).include
    [test] = Attributes({"tags": spec}, arrays).tests(include, where="$.include")
    assert test(np.arange(1)).tolist() == [True]
