"""Events that come by a tenant's API: the good ones are taken, each of the others is named."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ConnectTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from inference.event_contracts import decode_event
from inference.event_stream import MAX_RECORD_BYTES, EventStream
from inference.handlers.gateway import reply_and_log
from inference.intake import MAX_EVENTS, Intake
from inference.telemetry import open_telemetry
from tests.unit.inference.handlers.lambda_process import gateway

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Kinesis:
    """Takes what it is given, but for the first `throttled` records of each call so often."""

    def __init__(self, *, throttled: int = 0, times: int = 0) -> None:
        self.taken: list[dict[str, Any]] = []
        self.calls: list[int] = []
        self._throttled, self._times = throttled, times

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        assert StreamName == "events"
        self.calls.append(len(Records))
        refused = self._throttled if len(self.calls) <= self._times else 0
        self.taken += Records[refused:]
        error = {"ErrorCode": "ProvisionedThroughputExceededException"}
        return {"Records": [error] * min(refused, len(Records)) + [{}] * (len(Records) - refused)}


def intake(kinesis: Any) -> Intake:
    return Intake("acme", EventStream("events", kinesis, lambda seconds: None))


def view(number: int = 1, **change: Any) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "type": "interaction",
        "event_id": f"e-{number}",
        "customer_id": f"c-{number}",
        "timestamp": NOW.isoformat(),
        "product_id": "lamp-1",
        "event": "view",
        **change,
    }


def without(event: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name not in names}


def send(payload: Any, kinesis: Any = None) -> dict[str, Any]:
    return intake(kinesis or Kinesis()).answer(payload, now=NOW)


def test_an_event_is_put_as_the_tenants_in_its_customers_shard() -> None:
    kinesis = Kinesis()
    assert send(view(), kinesis) == {"accepted": 1, "event_ids": ["e-1"], "rejected": []}
    (record,) = kinesis.taken
    assert record["PartitionKey"] == "acme#c-1"
    found = decode_event(record["Data"], now=NOW)
    assert found == decode_event({**view(), "tenant": "acme"}, now=NOW)


def test_the_good_ones_of_a_request_are_taken_and_the_others_named() -> None:
    kinesis = Kinesis()
    sent = [view(1), view(2, product_id=7), 3, view(4, tenant="other"), view(5)]
    answer = send(json.dumps({"events": sent}), kinesis)
    assert answer["event_ids"] == ["e-1", None, None, None, "e-5"]
    assert [(r["index"], r["code"], r["path"]) for r in answer["rejected"]] == [
        (1, "BadRequestError", "$.product_id"),
        (2, "BadRequestError", "$"),
        (3, "BadRequestError", "$.tenant"),
    ]
    assert (answer["accepted"], len(kinesis.taken), "error" in answer) == (2, 2, False)


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        (b"{", "$"),
        (b"\xff", "$"),
        (b"[]", "$"),
        (None, "$"),
        ({}, "$"),
        ({"events": []}, "$.events"),
        ({"events": [view()] * (MAX_EVENTS + 1)}, "$.events"),
        ({"events": [view()], "colour": "red"}, "$"),
        ({"events": "all"}, "$.events"),
        ({"events": [view(event=1), 3]}, "$.events[0].event"),
        (view(event_id=None), "$.event_id"),
        (view(timestamp="2026-03-02T13:00:00Z"), "$.timestamp"),
        (b"[" * 100_000, "$"),
    ],
)
def test_where_nothing_is_good_the_request_is_bad(payload: Any, path: str) -> None:
    error = send(payload)["error"]
    assert (error["status"], error["code"], error["path"]) == (400, "BadRequestError", path)


def test_an_event_with_half_a_surrogate_pair_is_named_and_the_others_are_taken() -> None:
    found = send({"events": [view(1), view(2, customer_id="\ud800")]})
    assert (found["accepted"], found["event_ids"]) == (1, ["e-1", None])
    assert [(r["index"], r["path"]) for r in found["rejected"]] == [(1, "$.customer_id")]


def test_an_event_without_an_id_is_the_same_event_again() -> None:
    event = without(view(), "event_id")
    (first,), (second,) = (send(event)["event_ids"] for _ in range(2))
    reordered = dict(reversed(list(event.items())))
    (third,), (other,) = (send(e)["event_ids"] for e in (reordered, {**event, "event": "cart"}))
    assert first == second == third != other
    assert len(first) == 64


def test_an_event_too_large_for_the_stream_is_refused() -> None:
    kinesis, attributes = Kinesis(), {"a": "x" * MAX_RECORD_BYTES}
    large = without(view(2, type="customer", attributes=attributes), "product_id", "event")
    answer = send({"events": [view(1), large]}, kinesis)
    assert answer["accepted"] == 1
    assert "1,000,000" in answer["rejected"][0]["message"]


def test_what_is_throttled_is_put_again_and_said_where_that_goes_on() -> None:
    kinesis = Kinesis(throttled=2, times=3)
    sent = {"events": [view(number) for number in range(5)]}
    assert send(sent, kinesis)["accepted"] == 5
    assert kinesis.calls == [5, 2, 2, 2]
    stubborn = Kinesis(throttled=2, times=99)
    answer = send(sent, stubborn)
    assert (answer["accepted"], answer["event_ids"][:3]) == (3, [None, None, "e-2"])
    assert [(r["index"], r["code"]) for r in answer["rejected"]] == [
        (0, "StreamError"),
        (1, "StreamError"),
    ]


def test_a_stream_that_does_not_answer_is_a_503() -> None:
    class Silent:
        def put_records(self, **_: Any) -> Any:
            raise ConnectTimeoutError(endpoint_url="https://kinesis")

    error = send(view(), Silent())["error"]
    assert (error["status"], error["code"]) == (503, "StreamError")


@given(sizes=st.lists(st.integers(1, 2_000_000), max_size=12), count=st.integers(0, 1100))
def test_every_record_is_put_once_in_calls_that_kinesis_takes(sizes: list[int], count: int) -> None:
    class Counting(Kinesis):
        def put_records(self, **given: Any) -> dict[str, Any]:
            sizes = [len(record["Data"]) for record in given["Records"]]
            assert len(sizes) <= 500
            assert sum(sizes) <= 5_000_000 or len(sizes) == 1
            return super().put_records(**given)

    records = [b"x" * size for size in sizes] + [b"{}"] * count
    kinesis = Counting()
    assert EventStream("events", kinesis).put(records) == []
    assert [record["Data"] for record in kinesis.taken] == records


@pytest.mark.parametrize(
    ("body", "status", "counts"),
    [
        (view(), 200, (1, 0, 0)),
        ({"events": [view(), {}]}, 200, (1, 1, 0)),
        ({"events": [{}]}, 400, (0, 1, 1)),
        ([], 400, (0, 0, 1)),
    ],
)
def test_the_handler_answers_the_gateway_and_counts(
    body: Any, status: int, counts: tuple[int, ...]
) -> None:
    stream = io.StringIO()
    told = open_telemetry(service="events", model="none", stream=stream)
    sent = gateway(json.dumps(body))
    answer = reply_and_log(sent, None, intake(Kinesis()).answer, told.received)
    assert answer["statusCode"] == status
    assert ("accepted" in msgspec.json.decode(answer["body"])) == (body != [])
    line = json.loads(stream.getvalue())
    assert tuple(line[name] for name in ("Events", "Rejected", "BadRequests")) == counts
    assert "lamp-1" not in stream.getvalue()


@pytest.mark.parametrize("name", ["customer_id", "product_id"])
@pytest.mark.parametrize("given_id", [" ", " c-1", "c-1\n"])
def test_an_id_with_blanks_around_it_is_refused(name: str, given_id: str) -> None:
    """An import would strip it, and so make another customer of it."""
    found = intake(Kinesis()).answer(view(**{name: given_id}), now=NOW)
    assert (found["accepted"], found["error"]["path"]) == (0, f"$.{name}")
    assert "blanks" in found["error"]["message"]
