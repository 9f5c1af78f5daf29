"""The Lambda's answers: direct invocations, API Gateway events, bad requests."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference.errors import ArtifactError
from inference.handlers import next_best_product
from inference.handlers.next_best_product import Service, handler
from tests.unit.inference import small_model
from tests.unit.inference.handlers.lambda_process import gateway, lambda_process

SERVICE = Service(small_model.recommender(), tenant="acme", run="run-1", version="7")


def answer(payload: Any) -> dict[str, Any]:
    return SERVICE.answer(payload, now=small_model.NOW, decision_id="d-1")


def test_an_answer_says_who_answered() -> None:
    found = answer({"history": ["dates"], "limit": 1})
    who = {name: found[name] for name in ("decision_id", "tenant", "run", "model_version")}
    assert who == {"decision_id": "d-1", "tenant": "acme", "run": "run-1", "model_version": "7"}
    assert found["products"][0]["product_id"] == "eggs"
    assert found["products"][0]["title"] == "Eggs"
    assert found["degraded"] is False
    json.dumps(found, allow_nan=False)


def test_an_answer_carries_fallback_unknown_products_and_empty_reason() -> None:
    found = answer({"history": ["x"], "include": {"colour": "pink"}})
    assert (found["fallback"], found["unknown_products"]) == ("trend", ["x"])
    assert "colour" in found["empty_reason"]


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (b"{", "$"),
        (None, "$"),
        ({"limit": 0}, "$.limit"),
        ({"nope": 1}, "$"),
        ({"include": {"color": "red"}}, "$.include.color"),
        ('{"history": [1]}', "$.history[0]"),
    ],
)
def test_a_bad_request_is_an_answer(payload: Any, path: str) -> None:
    error = answer(payload)["error"]
    assert (error["status"], error["code"], error["path"]) == (400, "BadRequestError", path)


@pytest.fixture
def _live_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    model = small_model.write(tmp_path / "model")
    with lambda_process(next_best_product, model, tmp_path=tmp_path, monkeypatch=monkeypatch):
        yield


@pytest.mark.usefixtures("_live_model")
def test_a_direct_invocation_answers_plainly() -> None:
    found = handler({"history": ["dates"], "limit": 1}, None)
    assert found["products"][0]["product_id"] == "eggs"
    assert (found["tenant"], found["model_version"]) == ("acme", "7")
    assert handler({}, None)["decision_id"] != handler({}, None)["decision_id"]


@pytest.mark.usefixtures("_live_model")
def test_a_gateway_event_is_answered_the_same_in_base64_and_in_plain() -> None:
    body = '{"history": ["dates"], "customer_id": "Zoë"}'
    plain = handler(gateway(body), None)
    encoded = handler(gateway(base64.b64encode(body.encode()).decode(), encoded=True), None)
    assert plain["statusCode"] == encoded["statusCode"] == 200
    assert plain["headers"] == {"content-type": "application/json"}
    one, two = (json.loads(reply["body"])["products"] for reply in (plain, encoded))
    assert one == two
    assert one[0]["product_id"] == "eggs"


@pytest.mark.usefixtures("_live_model")
@pytest.mark.parametrize("body", [None, "", "{", "[]", '{"limit": 0}', '{"include": {"a": 1}}'])
def test_a_bad_gateway_event_is_a_400(body: str | None) -> None:
    reply = handler(gateway(body), None)
    assert reply["statusCode"] == 400
    assert json.loads(reply["body"])["error"]["code"] == "BadRequestError"


@pytest.mark.usefixtures("_live_model")
def test_a_broken_model_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_MODEL", "s3://models/none.tar.gz")
    with pytest.raises(ArtifactError):
        handler({}, None)
    monkeypatch.setenv("NEXTBEST_MODEL", "s3://models/acme/model.tar.gz")
    assert handler({"limit": 1}, None)["products"]
