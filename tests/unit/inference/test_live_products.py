"""What changed of products: how it is stored, how often it is asked for, what it decides."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import numpy as np
import pytest
from botocore.exceptions import ReadTimeoutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from moto import mock_aws

from inference.contracts import decode_request
from inference.dynamo import FORGOTTEN_AFTER_SECONDS
from inference.dynamo_products import DynamoProducts
from inference.event_contracts import ProductChange, decode_event
from inference.filters import Attributes
from inference.handlers.next_best_product import Service
from inference.live_products import (
    OVERLAP_SECONDS,
    REFRESH_SECONDS,
    LiveModel,
    ProductState,
    ProductStoreError,
)
from inference.recommender import Recommender
from tests.unit.inference import small_model

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
SCHEMA = {
    "TableName": "products",
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [
        {"AttributeName": "tenant", "AttributeType": "S"},
        {"AttributeName": "product_id", "AttributeType": "S"},
        {"AttributeName": "written", "AttributeType": "N"},
    ],
    "KeySchema": [
        {"AttributeName": "tenant", "KeyType": "HASH"},
        {"AttributeName": "product_id", "KeyType": "RANGE"},
    ],
    "LocalSecondaryIndexes": [
        {
            "IndexName": "written",
            "KeySchema": [
                {"AttributeName": "tenant", "KeyType": "HASH"},
                {"AttributeName": "written", "KeyType": "RANGE"},
            ],
            "Projection": {"ProjectionType": "ALL"},
        }
    ],
}


class Clock:
    def __init__(self) -> None:
        self.now = NOW.timestamp()

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        found = boto3.client("dynamodb", region_name="eu-west-1")
        found.create_table(**SCHEMA)
        yield found


@pytest.fixture
def clock() -> Clock:
    return Clock()


def change(number: int, product_id: str = "dates", *, at: int = 0, **fields: Any) -> ProductChange:
    head = {"schema_version": 1, "event_id": f"e-{number}", "tenant": "acme", "type": "product"}
    when = (NOW - timedelta(hours=1) + timedelta(minutes=at)).isoformat()
    found = decode_event({**head, "product_id": product_id, "timestamp": when, **fields}, now=NOW)
    assert isinstance(found, ProductChange)
    return found


def products(client: Any, clock: Clock, tenant: str = "acme") -> DynamoProducts:
    return DynamoProducts("products", tenant, client=client, clock=clock)


def test_what_is_recorded_is_the_tenants_alone(client: Any, clock: Clock) -> None:
    products(client, clock).record(change(1, available=False, price=2.5))
    assert products(client, clock).since(0) == [ProductState("dates", False, 2.5)]
    assert products(client, clock, "other").since(0) == []


def test_only_what_was_written_since_is_read(client: Any, clock: Clock) -> None:
    store = products(client, clock)
    store.record(change(1, "dates", available=False))
    clock.now += 60
    store.record(change(2, "eggs", price=1e300))
    assert store.since(clock.now - 1) == [ProductState("eggs", None, 1e300)]
    assert {state.product_id for state in store.since(0)} == {"dates", "eggs"}


def test_a_product_nobody_wrote_about_is_forgotten(client: Any, clock: Clock) -> None:
    store = products(client, clock)
    store.record(change(1, available=False))
    clock.now += FORGOTTEN_AFTER_SECONDS
    assert store.since(0) == []


PARTITIONS = itertools.count()
CHANGES = st.lists(
    st.builds(
        dict,
        at=st.integers(0, 3),
        available=st.sampled_from([None, True, False]),
        price=st.sampled_from([None, 1.0, 2.0]),
        attributes=st.just({"colour": "red"}),
    ),
    max_size=6,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(drawn=CHANGES, data=st.data())
def test_the_newest_event_wins_in_any_order_and_however_often_it_comes(
    client: Any, clock: Clock, drawn: list[dict[str, Any]], data: st.DataObject
) -> None:
    events = [change(number, **fields) for number, fields in enumerate(drawn)]
    expected: dict[str, Any] = {"available": None, "price": None}
    for event in sorted(events, key=lambda event: (event.timestamp, event.event_id)):
        for name in expected:
            expected[name] = expected[name] if (v := getattr(event, name)) is None else v
    store = products(client, clock, f"tenant-{next(PARTITIONS)}")
    for event in data.draw(st.permutations(events + events[: len(events) // 2])):
        store.record(event)
    told = any(value is not None for value in expected.values())
    assert store.since(0) == ([ProductState("dates", **expected)] if told else [])


class Failing:
    """A client whose calls all time out."""

    def __getattr__(self, name: str) -> Any:
        def call(*_: Any, **__: Any) -> Any:
            raise ReadTimeoutError(endpoint_url="https://dynamodb")

        return call


def test_a_table_that_does_not_answer_says_so(clock: Clock) -> None:
    store = products(Failing(), clock)
    with pytest.raises(ProductStoreError, match="did not answer"):
        store.since(0)
    with pytest.raises(ProductStoreError, match="did not answer"):
        store.record(change(1, price=1.0))


class Store:
    """States that a test sets; remembers what was asked."""

    def __init__(self) -> None:
        self.states: list[ProductState] = []
        self.asked: list[float] = []
        self.fails = False

    def since(self, moment: float) -> list[ProductState]:
        self.asked.append(moment)
        if self.fails:
            raise ProductStoreError("did not answer")
        return self.states


def test_the_store_is_asked_at_most_every_few_seconds_and_only_for_what_is_new() -> None:
    store, clock = Store(), Clock()
    live = LiveModel(small_model.recommender(), store, clock=clock)
    start = clock.now
    first = live.current()
    assert live.current() == first
    clock.now += REFRESH_SECONDS - 0.1
    live.current()
    assert store.asked == [0.0]
    clock.now += 0.1
    assert live.current() == first  # nothing new, the same model
    clock.now -= 3600  # a clock that is set back
    live.current()
    assert store.asked == [0.0, start - OVERLAP_SECONDS, start + REFRESH_SECONDS - OVERLAP_SECONDS]


def test_a_failing_store_degrades_and_leaves_what_is_known() -> None:
    store, clock = Store(), Clock()
    service = Service(
        recommender := small_model.recommender(),
        *("acme", "run-1", "7"),
        live=LiveModel(recommender, store, clock=clock),
    )

    def ask(**request: Any) -> tuple[list[str], bool]:
        found = service.answer({"limit": 1, **request}, now=NOW, decision_id="d")
        return [product["product_id"] for product in found["products"]], found["degraded"]

    assert ask() == (["bread"], False)
    store.states = [ProductState("bread", available=False)]
    clock.now += REFRESH_SECONDS
    assert ask() == (["dates"], False)
    store.fails = True
    clock.now += REFRESH_SECONDS
    assert ask() == (["dates"], True)
    assert ask(now=NOW.isoformat()) == (["bread"], False)  # a replay is of the model as trained
    store.fails = False
    assert ask() == (["dates"], True)  # not asked again yet
    clock.now += REFRESH_SECONDS
    store.states = [ProductState("bread", available=True)]
    assert ask() == (["bread"], False)


def shown(recommender: Recommender, **request: Any) -> list[str]:
    answer = recommender.recommend(decode_request(request), now=NOW, decision_id="d-1")
    return [product.product_id for product in answer.products]


EVERY = {"colour": {"not": "no such"}}
QUESTIONS: list[dict[str, Any]] = [
    {},
    {"history": ["dates", "apple"]},
    {"history": ["dates", "apple"], "buy_again": True},
    {"context_product": "bread"},
    {"decision": "similar", "product": "bread"},
    {"decision": "trending"},
    {"decision": "rank", "products": small_model.PRODUCTS, "history": ["dates"]},
    {"history": ["dates"], "promote": {"share": 1.0, "where": EVERY}},
    {"history": ["dates"], "explore": {"share": 1.0, "where": EVERY}},
    {"history": ["dates"], "minimum_score": 1000.0},
    {"history": ["dates"], "diversity": {"attribute": "colour", "weight": 0.5}},
    {"include_products": small_model.PRODUCTS},
]


@given(gone=st.sets(st.sampled_from(small_model.PRODUCTS)), question=st.sampled_from(QUESTIONS))
def test_what_is_unavailable_is_in_no_answer(gone: set[str], question: dict[str, Any]) -> None:
    trained = small_model.recommender()
    states = [ProductState(product, available=False) for product in sorted(gone)]
    live = trained.changed_by([*states, ProductState("no such product", available=False)])
    assert not gone.intersection(shown(live, **question))
    without = {**question, "exclude_products": sorted(gone)}
    if question.get("decision") != "rank":
        assert shown(live, **question) == shown(trained, **without)
    back = live.changed_by([ProductState(product, available=True) for product in gone])
    assert shown(back, **question) == shown(trained, **question)
    assert shown(live, **question, include_unavailable=True) == shown(trained, **question)


def test_filters_see_the_price_of_now_and_the_trained_model_stays() -> None:
    trained = small_model.recommender()
    live = trained.changed_by([ProductState("cheese", price=0.1), ProductState("dates", price=9.0)])
    cheap, dear = {"price": {"max": 1}}, {"price": {"min": 5}}
    assert set(shown(live, include=cheap)) == {"cheese", "flour", "apple"}
    assert set(shown(live, include=dear)) == {"dates"}
    assert set(shown(trained, include=cheap)) == {"flour", "apple"}
    assert set(shown(trained, include=dear)) == {"cheese"}


def test_a_model_without_prices_takes_no_price() -> None:
    attributes = Attributes({}, {})
    changed = attributes.changed_by([ProductState("a", price=1.0)], {"a": 0})
    assert "price" not in changed
    assert changed.available(NOW) == []


@pytest.mark.parametrize(
    ("spec", "column"),
    [
        ({"type": "number", "array": "stock"}, np.array([0.0, 3.0, np.nan])),
        ({"type": "category", "array": "stock", "values": ["no", "yes"]}, np.array([0, 1, -1])),
    ],
)
def test_what_was_said_since_counts_for_the_stock_of_training(spec: Any, column: Any) -> None:
    items, code_of = np.arange(3), {"a": 0, "b": 1, "c": 2}
    attributes = Attributes({"in_stock": spec}, {"stock": column})

    def left(found: Attributes) -> list[bool]:
        (test,) = found.available(NOW)
        return list(test(items).tolist())

    assert left(attributes) == [False, True, True]
    back = attributes.changed_by([ProductState("a", available=True)], code_of)
    assert left(back) == [True, True, True]
    gone = back.changed_by([ProductState("b", False), ProductState("c", price=2.0)], code_of)
    assert left(gone) == [True, False, True]
