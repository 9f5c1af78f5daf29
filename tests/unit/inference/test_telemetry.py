"""One line a decision, that CloudWatch turns into metrics, and that tells on nobody."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from inference.handlers.next_best_product import Service
from inference.telemetry import DIMENSIONS, open_telemetry
from tests.unit.inference import small_model

SECRET = "customer-4711"


def line_of(answer: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setenv("NEXTBEST_STAGE", "local")
    monkeypatch.setenv("NEXTBEST_TENANT", "acme")
    stream = io.StringIO()
    telemetry = open_telemetry(service="next-best-product", model="recommender", stream=stream)
    telemetry.decided(answer, request_id="request-1", latency_ms=1.23456)
    (line,) = stream.getvalue().splitlines()
    return dict(json.loads(line))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    service = Service(small_model.recommender(), tenant="acme", run="run-1", version="7")
    return service.answer(request, now=small_model.NOW, decision_id="d-1")


def test_a_decision_is_one_line_with_its_run_tenant_and_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = line_of(answer({"customer_id": SECRET, "history": ["dates", SECRET]}), monkeypatch)
    assert line["level"] == "INFO"
    known = {
        name: line.get(name) for name in ("run", "tenant", "request_id", "decision_id", "path")
    }
    assert known == {
        "run": "run-1",
        "tenant": "acme",
        "request_id": "request-1",
        "decision_id": "d-1",
        "path": None,
    }
    assert (line["unknown_products"], line["LatencyMs"]) == (1, 1.235)
    assert SECRET not in json.dumps(line)


def test_every_metric_and_dimension_of_the_format_is_in_the_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    line = line_of(answer({"history": ["dates"]}), monkeypatch)
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "nextbest"
    assert directive["Dimensions"] == [list(DIMENSIONS)]
    values = [line[name] for name in DIMENSIONS]
    assert values == ["next-best-product", "local", "acme", "recommender"]
    for metric in directive["Metrics"]:
        assert isinstance(line[metric["Name"]], int | float)
    assert isinstance(line["_aws"]["Timestamp"], int)


@pytest.mark.parametrize(
    ("request_", "counted"),
    [
        ({"history": ["dates"]}, {}),
        ({"history": []}, {"Fallbacks": 1}),
        ({"include": {"colour": "pink"}}, {"Fallbacks": 1, "Empty": 1}),
        ({"limit": 0}, {"BadRequests": 1}),
    ],
)
def test_what_happened_is_counted(
    request_: dict[str, Any], counted: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = line_of(answer(request_), monkeypatch)
    counts = {name: line[name] for name in ("Decisions", "BadRequests", "Fallbacks", "Empty")}
    assert counts == {"Decisions": 1, "BadRequests": 0, "Fallbacks": 0, "Empty": 0} | counted
    assert line.get("path") == ("$.limit" if "BadRequests" in counted else None)


@pytest.mark.parametrize("degraded", [True, False])
def test_a_degraded_answer_is_counted(degraded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    line = line_of({**answer({}), "degraded": degraded}, monkeypatch)
    assert line["Degraded"] == degraded
