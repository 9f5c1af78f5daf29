"""What is sent as events changes the next answer of the released Lambda, within seconds."""

from __future__ import annotations

import json
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from inference import artifact
from inference.contracts import decode_request
from pipelines import events, releases, stacks
from pipelines.stage import Stage
from pipelines.workspace import Workspace
from tests.integration.test_events import eventually
from tests.unit.inference import small_model

RUN, TENANT = "recommender-20261124t001904-ab12c4", "online"


def golden() -> list[dict[str, Any]]:
    """A request with the model's answer, as an evaluation records them."""
    request = {"history": ["dates"], "limit": 3, "now": small_model.NOW.isoformat()}
    answer = small_model.recommender().recommend(decode_request(request), now=small_model.NOW)
    products = [{"product_id": p.product_id, "score": p.score} for p in answer.products]
    return [{"request": request, "response": {"products": products}}]


def upload(stage: Stage, folder: Path) -> str:
    """The small model where a run leaves it; the folder of its artefacts."""
    artifact.pack(small_model.write(folder / "model"), folder / "model.tar.gz")
    prefix, s3 = stage.run_prefix(TENANT, RUN), stage.client("s3")
    s3.upload_file(str(folder / "model.tar.gz"), stage.bucket, f"{prefix}/out/model.tar.gz")
    body = json.dumps(golden()).encode()
    s3.put_object(Bucket=stage.bucket, Key=f"{prefix}/evaluation/golden.json", Body=body)
    return stage.uri(f"{prefix}/out")


def release(stage: Stage, artifacts: str) -> str:
    """The outcome of the machine that releases."""
    given = {
        "tenant": TENANT,
        "kind": "recommender",
        "run": RUN,
        "started_at": "2026-11-24T00:19:04Z",
        "function": releases.decision_function(stage, TENANT, kind="recommender"),
        "artifacts": artifacts,
        "golden": stage.uri(f"{stage.run_prefix(TENANT, RUN)}/evaluation/golden.json"),
        "mode": "live",
    }
    client, machine = stage.client("stepfunctions"), stage.machine_arn("release-model")
    arn = client.start_execution(stateMachineArn=machine, input=json.dumps(given))["executionArn"]
    while (found := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(0.2)
    return str(json.loads(found["output"])["outcome"])


@pytest.fixture(scope="module")
def shop(deployed_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    stacks.add_tenant(deployed_stage, TENANT, progress=lambda line: None)
    artifacts = upload(deployed_stage, tmp_path_factory.mktemp("small"))
    assert release(deployed_stage, artifacts) == "released"
    return Workspace(deployed_stage, TENANT)


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
