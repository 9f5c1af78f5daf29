"""What is sent as events changes the next answer of the released Lambda, within seconds."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines import events
from pipelines.stage import Stage
from pipelines.workspace import Workspace
from tests.integration.small_shop import open_shop
from tests.integration.test_events import eventually

TENANT = "online"


@pytest.fixture(scope="module")
def shop(deployed_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return open_shop(deployed_stage, TENANT, tmp_path_factory.mktemp("small"))


def event(**fields: Any) -> bytes:
    head = {"schema_version": 1, "event_id": uuid.uuid4().hex, "tenant": TENANT}
    return json.dumps({**head, "timestamp": datetime.now(UTC).isoformat(), **fields}).encode()


def view(customer_id: str, product_id: str) -> bytes:
    what = {"type": "interaction", "product_id": product_id, "event": "view"}
    return event(customer_id=customer_id, **what)


def shown(shop: Workspace, **request: Any) -> list[str]:
    answer = shop.decide({"limit": 3, **request})
    assert not answer["degraded"]
    return [product["product_id"] for product in answer["products"]]


def test_the_top_product_becomes_unavailable_and_comes_back(shop: Workspace) -> None:
    (top,) = shown(shop, limit=1)
    latencies = []
    for available in (False, True, False, True):
        began = time.monotonic()
        gone = event(type="product", product_id=top, available=available)
        assert events.put(shop.stage, [gone]) == (1, [])
        eventually(lambda there=available: (top in shown(shop)) == there)
        latencies.append(time.monotonic() - began)
        promoted = shown(shop, promote={"share": 1.0, "where": {"price": {"min": 0}}})
        assert (top in promoted) == available
    print(f"availability to answer: {sorted(latencies)} s; asked at most every 5 s")


def test_filters_see_a_price_of_now(shop: Workspace) -> None:
    dear = {"include": {"price": {"min": 1000}}}
    assert shown(shop, **dear) == []
    events.put(shop.stage, [event(type="product", product_id="cheese", price=1234.5)])
    eventually(lambda: shown(shop, **dear) == ["cheese"])


def test_a_view_changes_the_customers_next_answer(shop: Workspace) -> None:
    stranger, latencies = shown(shop), []
    for number in range(6):
        customer = f"c-{number}"
        assert shown(shop, customer_id=customer) == stranger
        began = time.monotonic()
        assert events.put(shop.stage, [view(customer, "dates")]) == (1, [])
        eventually(lambda c=customer: shown(shop, customer_id=c) != stranger)
        latencies.append(time.monotonic() - began)
        assert shown(shop, customer_id=customer) == shown(
            shop, history=[{"product_id": "dates", "event": "view"}]
        )
    print(f"view to answer: first {latencies[0]:.2f} s, then {sorted(latencies[1:])}")
