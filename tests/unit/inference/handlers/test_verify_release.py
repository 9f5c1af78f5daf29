"""A release is refused unless the version answers every golden request as recorded."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from inference.errors import GoldenMismatchError
from inference.handlers.verify_release import verify

EVENT = {"function": "next-best-product", "qualifier": "7", "golden": "s3://b/run/golden.json"}
RECORDED = [{"product_id": "a", "score": 2.0}, {"product_id": "b", "score": 1.0}]


class FakeS3:
    def __init__(self, cases: list[dict[str, Any]]) -> None:
        self.cases = cases
        self.asked: list[tuple[str, str]] = []

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        self.asked.append((Bucket, Key))
        return {"Body": io.BytesIO(json.dumps(self.cases).encode())}


class FakeLambda:
    """Answers the same to everything; remembers what it was asked."""

    def __init__(self, answer: Any, **reply: str) -> None:
        self.answer = answer
        self.reply = reply
        self.asked: list[dict[str, Any]] = []

    def invoke(self, **call: Any) -> dict[str, Any]:
        self.asked.append(call)
        return {"Payload": io.BytesIO(json.dumps(self.answer).encode()), **self.reply}


def case(products: list[dict[str, Any]]) -> dict[str, Any]:
    return {"request": {"history": ["x"]}, "response": {"products": products}}


def test_equal_answers_pass_and_are_counted() -> None:
    s3, lambdas = FakeS3([case(RECORDED)] * 3), FakeLambda({"products": RECORDED})
    assert verify(EVENT, s3=s3, lambdas=lambdas) == {"compared": 3}
    assert s3.asked == [("b", "run/golden.json")]
    asked = lambdas.asked[0]
    assert (asked["FunctionName"], asked["Qualifier"]) == ("next-best-product", "7")
    assert json.loads(asked["Payload"]) == {"history": ["x"]}


def test_another_machine_s_last_bits_pass() -> None:
    found = [{**product, "score": product["score"] * (1 + 1e-7)} for product in RECORDED]
    lambdas = FakeLambda({"products": found})
    assert verify(EVENT, s3=FakeS3([case(RECORDED)]), lambdas=lambdas) == {"compared": 1}


@pytest.mark.parametrize(
    "answer",
    [
        {"products": [RECORDED[0]]},
        {"products": [*RECORDED, {"product_id": "c", "score": 0.5}]},
        {"products": RECORDED[::-1]},
        {"products": [RECORDED[0], {"product_id": "b", "score": 1.001}]},
        {"products": []},
        {"error": {"status": 400}},
    ],
    ids=["shorter", "longer", "other order", "other score", "none", "bad request"],
)
def test_another_answer_is_a_mismatch(answer: dict[str, Any]) -> None:
    with pytest.raises(GoldenMismatchError, match="golden request 0: expected"):
        verify(EVENT, s3=FakeS3([case(RECORDED)]), lambdas=FakeLambda(answer))


def test_the_mismatch_names_the_request() -> None:
    cases = [case(RECORDED), case([])]
    with pytest.raises(GoldenMismatchError, match="golden request 1"):
        verify(EVENT, s3=FakeS3(cases), lambdas=FakeLambda({"products": RECORDED}))


def test_a_failing_version_is_a_mismatch_with_its_error() -> None:
    failed = {"errorType": "ArtifactError", "errorMessage": "no manifest.json"}
    lambdas = FakeLambda(failed, FunctionError="Unhandled")
    message = "version 7 of next-best-product failed: ArtifactError: no manifest.json"
    with pytest.raises(GoldenMismatchError, match=message):
        verify(EVENT, s3=FakeS3([case(RECORDED)]), lambdas=lambdas)


def test_no_golden_request_is_refused() -> None:
    with pytest.raises(GoldenMismatchError, match="holds no golden request"):
        verify(EVENT, s3=FakeS3([]), lambdas=FakeLambda({}))


NUDGE: dict[str, Any] = {
    "action": "mail",
    "propensity": 0.75,
    "propensities": {"mail": 0.75, "none": 0.25},
    "excluded": [{"action": "push", "rule": "consent", "detail": "no consent to push"}],
}
NUDGE_CASES = [{"request": {"customer_id": "c", "decision_key": "k"}, "response": NUDGE}]


def test_a_nudge_s_golden_propensities_are_compared() -> None:
    near = {**NUDGE, "propensities": {"mail": 0.75 + 1e-8, "none": 0.25}, "decision_id": "d"}
    found = verify(EVENT, s3=FakeS3(NUDGE_CASES), lambdas=FakeLambda(near))
    assert found == {"compared": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"propensities": {"mail": 0.74, "none": 0.26}, "propensity": 0.74},
        {"action": "none"},
        {"excluded": []},
        {"excluded": [{"action": "push", "rule": "validity"}]},
        {"propensities": {"mail": 0.75, "none": 0.25, "push": 0.0}},
        {"propensities": {}},
    ],
)
def test_another_nudge_is_a_mismatch(change: dict[str, Any]) -> None:
    with pytest.raises(GoldenMismatchError, match="golden request 0: expected"):
        verify(EVENT, s3=FakeS3(NUDGE_CASES), lambdas=FakeLambda({**NUDGE, **change}))


def test_a_bad_request_is_no_nudge() -> None:
    with pytest.raises(GoldenMismatchError, match="golden request 0: expected"):
        verify(EVENT, s3=FakeS3(NUDGE_CASES), lambdas=FakeLambda({"error": {"status": 400}}))
