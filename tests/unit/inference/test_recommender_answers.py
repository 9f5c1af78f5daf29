"""The serving core on six products: fallbacks, context, exclusions, filters, explanations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from inference.contracts import HistoryEvent, ProductRequest, Recommendation
from inference.errors import BadRequestError
from inference.recommender import SHOWN_REASONS, Recommender
from tests.unit.inference import small_model
from tests.unit.inference.small_model import NOW


def ask(**fields: Any) -> Recommendation:
    return small_model.recommender().recommend(ProductRequest(**fields), now=NOW)


def ids(answer: Recommendation) -> list[str]:
    return [product.product_id for product in answer.products]


def test_an_empty_history_falls_back_to_the_trend() -> None:
    answer = ask(limit=3)
    assert ids(answer) == ["bread", "dates", "eggs"]
    assert answer.fallback == "trend"
    assert {r.kind for p in answer.products for r in p.reasons} == {"trend"}


def test_a_history_of_unknown_products_falls_back_and_says_so() -> None:
    answer = ask(history=["x", "y", "x"], limit=2)
    assert ids(answer) == ["bread", "dates"]
    assert (answer.fallback, answer.unknown_products) == ("trend", ["x", "y"])


def test_a_context_product_decides_alone_and_is_not_offered() -> None:
    answer = ask(history=["dates"], context_product="apple", limit=6)
    assert ids(answer)[:2] == ["bread", "cheese"]
    assert "apple" not in ids(answer)
    assert answer.products[0].reasons[0].product_id == "apple"


def test_an_unknown_context_product_leaves_the_history_to_decide() -> None:
    answer = ask(history=["dates"], context_product="zucchini", limit=1)
    assert (ids(answer), answer.unknown_products) == (["eggs"], ["zucchini"])


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"include": {"colour": ["brown", "red"]}}, {"apple", "bread", "dates"}),
        ({"include": {"colour": True}}, {"eggs"}),
        ({"include": {"price": 2}}, {"bread", "eggs"}),
        ({"include": {"price": 2, "colour": "brown"}}, {"bread"}),
        ({"exclude": {"price": [2.0, 5]}}, {"apple", "dates", "flour"}),
        ({"exclude": {"colour": "brown"}}, {"apple", "cheese", "eggs", "flour"}),
    ],
)
def test_filters_leave_what_they_say(filters: dict[str, Any], expected: set[str]) -> None:
    assert set(ids(ask(limit=6, **filters))) == expected


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"include": {"colour": "pink"}}, "include {'colour': 'pink'}"),
        ({"include": {"price": "cheap"}}, "include {'price': 'cheap'}"),
        ({"exclude_products": small_model.PRODUCTS}, "exclude_products"),
        ({"history": small_model.PRODUCTS, "exclude_purchased": True}, "exclude_purchased"),
    ],
)
def test_no_product_left_says_why(fields: dict[str, Any], said: str) -> None:
    answer = ask(**fields)
    assert answer.products == []
    assert answer.empty_reason == f"no product is left after: {said}"


@pytest.mark.parametrize("where", ["include", "exclude"])
def test_an_attribute_unlike_any_lists_the_known_ones(where: str) -> None:
    with pytest.raises(BadRequestError, match=r"known: \['colour', 'price'\]") as caught:
        ask(**{where: {"xyz": "red"}})
    assert caught.value.path == f"$.{where}.xyz"


def test_many_reasons_are_shortened_and_still_sum() -> None:
    model = small_model.recommender(matrix=np.ones((6, 6)) - np.eye(6))
    request = ProductRequest(history=small_model.PRODUCTS, limit=6)
    first = model.recommend(request, now=NOW).products[0]
    assert len(first.reasons) == SHOWN_REASONS + 1
    assert first.reasons[-1].kind == "other"
    assert sum(r.contribution for r in first.reasons) == pytest.approx(first.score, abs=1e-9)


def test_the_request_s_own_clock_wins_and_a_naive_time_is_utc() -> None:
    naive, later = NOW.replace(tzinfo=None), NOW.replace(year=2030)
    events = [HistoryEvent("dates", timestamp=naive), HistoryEvent("eggs", timestamp=NOW)]
    model = small_model.recommender()
    pinned = model.recommend(ProductRequest(history=events, now=naive), now=later)
    assert pinned == model.recommend(ProductRequest(history=events), now=NOW)


def test_the_model_on_disk_answers_like_the_one_in_memory(tmp_path: Path) -> None:
    opened = Recommender.open(small_model.write(tmp_path / "model"))
    request = ProductRequest(history=["apple", "dates"])
    expected = small_model.recommender().recommend(request, now=NOW)
    assert opened.recommend(request, now=NOW) == expected
