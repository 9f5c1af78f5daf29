"""What is sent as events changes the next answer of the released Lambda, within seconds."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from pipelines import api, events, stacks
from pipelines.errors import ApiError
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
    """What is recommended, asked again where a busy machine made DynamoDB late."""

    def sound() -> Any:
        answer = shop.decide({"limit": 3, **request})
        return None if answer["degraded"] else answer

    return [product["product_id"] for product in eventually(sound)["products"]]


@pytest.fixture(scope="module")
def access(shop: Workspace) -> api.Access:
    return api.access(shop.stage, TENANT)


@pytest.fixture(scope="module")
def token(access: api.Access) -> str:
    return api.token(access)


def call(access: api.Access, path: str, body: Any, *, token: str | None) -> tuple[int, Any]:
    """The status and the answer of a POST."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(f"{access.api_url}{path}", data=data, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_an_event_and_a_decision_by_the_http_api(access: api.Access, token: str) -> None:
    decide = "/v1/decisions/next-best-product"

    def products(customer_id: str) -> Any:
        status, answer = call(access, decide, {"customer_id": customer_id}, token=token)
        assert status == 200
        return [product["product_id"] for product in answer["products"]]

    before, latencies = products("nobody"), []
    for customer_id in ("by-http-1", "by-http-2", "by-http-3"):
        sent = {
            name: value
            for name, value in json.loads(view(customer_id, "dates")).items()
            if name not in ("tenant", "event_id")
        }
        began = time.monotonic()
        status, taken = call(access, "/v1/events", sent, token=token)
        assert (status, taken["accepted"], taken["rejected"]) == (200, 1, [])
        eventually(lambda c=customer_id: products(c) != before)
        latencies.append(time.monotonic() - began)
        assert call(access, "/v1/events", sent, token=token)[1]["event_ids"] == taken["event_ids"]
    print(f"POST /v1/events to the next answer: {latencies} s, the first with two cold starts")


def test_bad_events_are_named_and_good_ones_taken(access: api.Access, token: str) -> None:
    good, bad = json.loads(view("c", "dates")), {"type": "product", "price": -1}
    status, answer = call(access, "/v1/events", {"events": [bad, good]}, token=token)
    assert (status, answer["accepted"], answer["event_ids"]) == (200, 1, [None, good["event_id"]])
    assert [found["index"] for found in answer["rejected"]] == [0]
    for body in (b"{", {"events": []}, {"events": [bad]}):
        status, answer = call(access, "/v1/events", body, token=token)
        assert (status, answer["error"]["code"]) == (400, "BadRequestError")


def altered(token: str, part: int, **claims: Any) -> str:
    """The token with other claims in its header (part 0) or its payload (1), signed as before."""
    parts = token.split(".")
    padded = parts[part] + "=" * (-len(parts[part]) % 4)
    content = {**json.loads(base64.urlsafe_b64decode(padded)), **claims}
    parts[part] = base64.urlsafe_b64encode(json.dumps(content).encode()).rstrip(b"=").decode()
    return ".".join(parts)


def test_nobody_gets_in_without_a_token_of_the_tenants(
    shop: Workspace, access: api.Access, token: str
) -> None:
    stacks.add_tenant(shop.stage, "neighbour", progress=lambda line: None)
    other = api.token(api.access(shop.stage, "neighbour"))
    head, payload, _ = token.split(".")
    bad = {
        "none": None,
        "garbage": "garbage",
        "unsigned": f"{head}.{payload}.",
        "another's": other,
        "longer-lived": altered(token, 1, exp=4_000_000_000),
        "algorithm none": f"{altered(token, 0, alg='none').rsplit('.', 1)[0]}.",
        "signature of another": f"{head}.{payload}.{other.split('.')[2]}",
    }
    for path in ("/v1/events", "/v1/decisions/nudge"):
        found = {name: call(access, path, {}, token=given)[0] for name, given in bad.items()}
        assert found == dict.fromkeys(bad, 401)


def test_a_token_opens_only_what_its_scopes_say(shop: Workspace, access: api.Access) -> None:
    request = urllib.request.Request(
        access.token_url,
        data=urllib.parse.urlencode(
            {
                "grant_type": "client_credentials",
                "client_id": access.client_id,
                "client_secret": access.client_secret,
                "scope": "nextbest/events",
            }
        ).encode(),
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        narrow = json.load(answer)["access_token"]
    assert call(access, "/v1/events", json.loads(view("c", "dates")), token=narrow)[0] == 200
    assert call(access, "/v1/decisions/next-best-product", {}, token=narrow)[0] == 403
    wrong = dataclasses.replace(access, client_secret="guessed")
    with pytest.raises(ApiError, match="gave no token"):
        api.token(wrong)


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
