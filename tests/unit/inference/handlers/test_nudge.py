"""The `nudge` Lambda: its environment, its two kinds of events, its apprentice."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from inference.errors import ArtifactError
from inference.handlers import nudge
from inference.handlers.nudge import handler
from tests.unit.inference import small_policy
from tests.unit.inference.handlers.lambda_process import lambda_process

REQUEST = {"customer_id": "c-1", "context": {"age": 50}, "decision_key": "k-1"}


@pytest.fixture
def _live_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    model = small_policy.write(tmp_path / "model")
    with lambda_process(nudge, model, tmp_path=tmp_path, monkeypatch=monkeypatch):
        yield


@pytest.mark.usefixtures("_live_model")
def test_a_direct_invocation_answers_plainly() -> None:
    found = handler({"customer_id": "c-1"}, None)
    assert (found["tenant"], found["run"], found["model_version"]) == ("acme", "run-1", "7")
    assert list(found["propensities"]) == ["banner", "none"]
    assert handler({"customer_id": "c-1"}, None)["decision_id"] != found["decision_id"]


@pytest.mark.usefixtures("_live_model")
def test_a_gateway_event_is_answered_the_same_in_base64_and_in_plain() -> None:
    body = json.dumps(REQUEST)
    event: dict[str, Any] = {"version": "2.0", "requestContext": {}, "body": body}
    coded = {**event, "body": base64.b64encode(body.encode()).decode(), "isBase64Encoded": True}
    plain, encoded = handler(event, None), handler(coded, None)
    assert plain == encoded
    assert plain["statusCode"] == 200
    assert json.loads(plain["body"])["decision_id"] == handler(REQUEST, None)["decision_id"]


@pytest.mark.usefixtures("_live_model")
@pytest.mark.parametrize("body", [None, "", "{", "[]", "{}", '{"customer_id": 7}'])
def test_a_bad_gateway_event_is_a_400(body: str | None) -> None:
    reply = handler({"version": "2.0", "requestContext": {}, "body": body}, None)
    assert reply["statusCode"] == 400
    assert json.loads(reply["body"])["error"]["code"] == "BadRequestError"


@pytest.mark.usefixtures("_live_model")
def test_an_apprentice_in_the_environment_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NEXTBEST_APPRENTICE", "s3://models/acme")
    monkeypatch.setenv("NEXTBEST_APPRENTICE_RUN", "run-2")
    found = handler(REQUEST, None)
    record, decided = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (decided["event"], decided["decision_id"]) == ("nudge", found["decision_id"])
    assert decided["message"] == "decision"
    assert (record["run"], record["apprentice_run"]) == ("run-1", "run-2")
    assert (record["decision_id"], record["agrees"]) == (found["decision_id"], True)


@dataclass(frozen=True)
class Context:
    aws_request_id: str = "request-1"


@pytest.mark.usefixtures("_live_model")
def test_a_decision_is_one_line_of_log_and_metrics_that_tells_on_nobody(
    capsys: pytest.CaptureFixture[str],
) -> None:
    secret = "customer-4711"
    found = handler({"customer_id": secret, "context": {"age": 50}}, Context())
    (text,) = capsys.readouterr().out.splitlines()
    line = json.loads(text)
    who = {name: line[name] for name in ("service", "model", "tenant", "run", "request_id")}
    assert who == {
        "service": "nudge",
        "model": "nudge-policy",
        "tenant": "acme",
        "run": "run-1",
        "request_id": "request-1",
    }
    assert (line["action"], line["propensities"]) == (found["action"], found["propensities"])
    (directive,) = line["_aws"]["CloudWatchMetrics"]
    assert {metric["Name"] for metric in directive["Metrics"]} <= set(line)
    assert line["LatencyMs"] > 0
    assert (line["Decisions"], line["BadRequests"]) == (1, 0)
    assert line["Nudges"] == (found["action"] != "none")
    assert secret not in text


@pytest.mark.usefixtures("_live_model")
def test_a_bad_request_is_counted_by_its_path_and_a_replay_not_at_all(
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler({"customer_id": "c-1", "now": "2026-11-20T12:00:00Z"}, Context())
    assert capsys.readouterr().out == ""
    handler({"customer_id": 7}, Context())
    line = json.loads(capsys.readouterr().out)
    assert (line["message"], line["path"]) == ("bad request", "$.customer_id")
    assert (line["Decisions"], line["BadRequests"], line["Nudges"]) == (1, 1, 0)


@pytest.mark.usefixtures("_live_model")
def test_a_broken_model_or_apprentice_is_not_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEXTBEST_APPRENTICE", "s3://models/none")
    monkeypatch.setenv("NEXTBEST_APPRENTICE_RUN", "run-2")
    with pytest.raises(ArtifactError):
        handler(REQUEST, None)
    monkeypatch.setenv("NEXTBEST_APPRENTICE", "")
    monkeypatch.setenv("NEXTBEST_MODEL", "s3://models/none.tar.gz")
    with pytest.raises(ArtifactError):
        handler(REQUEST, None)
    monkeypatch.setenv("NEXTBEST_MODEL", "s3://models/acme/model.tar.gz")
    assert handler(REQUEST, None)["propensity"] > 0
