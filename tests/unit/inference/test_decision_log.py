"""Decisions on their way out: stream, queue, disk; whatever breaks, each of them arrives."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import boto3
import msgspec
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

from inference import decision_log
from inference.decision_log import (
    KEPT_A_CALL,
    REST_SECONDS,
    Carrier,
    CarrierError,
    DecisionLog,
    Kept,
    open_decision_log,
    to_queue,
    to_stream,
)
from inference.decision_records import DecisionRecord, decode_record, encode_record
from tests.unit.inference.small_model import NOW


def decision(number: int) -> DecisionRecord:
    who = {"tenant": "acme", "model_version": "7", "run": "run-1", "decision": "nudge"}
    return DecisionRecord(schema_version=1, decision_id=f"d-{number}", at=NOW, **who)


def ids(lines: Sequence[bytes]) -> list[str]:
    return [json.loads(line)["decision_id"] for line in lines]


class Place:
    """Takes what it is given while it is `up`; of each call at most `room`."""

    def __init__(self, *, up: bool = True, room: int = 1000) -> None:
        self.up, self.room, self.taken, self.calls = up, room, [], 0

    def carry(self, lines: Sequence[bytes]) -> list[bytes]:
        self.calls += 1
        if not self.up:
            raise CarrierError("down")
        self.taken += ids(lines[: self.room])
        return list(lines[self.room :])


class World:
    """A log with two places, a folder and a clock."""

    def __init__(self, folder: Path) -> None:
        self.stream, self.queue, self.folder = Place(), Place(), folder
        self.now, self.warnings = 0.0, []
        self.log = self.process()

    def process(self) -> DecisionLog:
        """A log as a new process has it."""
        carriers = [
            Carrier(name, place.carry, clock=lambda: self.now, warn=self.warnings.append)
            for name, place in (("stream", self.stream), ("queue", self.queue))
        ]
        ticks = iter(range(10**9))
        return DecisionLog(carriers, Kept(self.folder, clock=lambda: next(ticks)))

    def taken(self) -> list[str]:
        return self.stream.taken + self.queue.taken


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "kept")


def test_a_decision_goes_on_the_stream(world: World) -> None:
    assert world.log.put(decision(1))
    assert (world.stream.taken, world.queue.calls) == (["d-1"], 0)
    assert not world.folder.exists()


def test_what_the_stream_does_not_take_goes_to_the_queue(world: World) -> None:
    world.stream.up = False
    assert world.log.put(decision(1))
    world.stream.up, world.stream.room = True, 0
    world.now += REST_SECONDS
    assert world.log.put(decision(2))
    assert world.queue.taken == ["d-1", "d-2"]


def test_a_stream_that_is_down_costs_one_attempt_a_rest(world: World) -> None:
    world.stream.up = False
    for number in range(5):
        world.log.put(decision(number))
    assert (world.stream.calls, len(world.warnings)) == (1, 1)
    world.now += REST_SECONDS
    world.log.put(decision(5))
    assert world.stream.calls == 2
    assert world.queue.taken == [f"d-{n}" for n in range(6)]


def test_what_nothing_takes_waits_says_so_and_goes_with_the_next_in_order(world: World) -> None:
    world.stream.up = world.queue.up = False
    assert [world.log.put(decision(n)) for n in range(3)] == [False] * 3
    assert len(os.listdir(world.folder)) == 3
    world.stream.up, world.now = True, REST_SECONDS
    assert world.log.put(decision(3))
    assert world.stream.taken == ["d-0", "d-1", "d-2", "d-3"]
    assert os.listdir(world.folder) == []


def test_another_process_sends_what_one_that_died_left(world: World) -> None:
    world.stream.up = world.queue.up = False
    world.log.put(decision(1))
    world.stream.up = True
    assert world.process().put(decision(2))
    assert world.stream.taken == ["d-1", "d-2"]


def test_a_long_outage_is_worked_off_over_several_decisions(world: World) -> None:
    world.stream.up = world.queue.up = False
    count = 2 * KEPT_A_CALL + 5
    for number in range(count):
        world.log.put(decision(number))
    world.stream.up, world.now = True, REST_SECONDS
    for number in range(count, count + 3):
        assert world.log.put(decision(number))
    assert sorted(world.stream.taken) == sorted(f"d-{n}" for n in range(count + 3))


def test_a_full_disk_keeps_them_in_the_process(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("a file where the folder should be")
    world = World(tmp_path / "kept")
    world.stream.up = world.queue.up = False
    assert not world.log.put(decision(1))
    world.stream.up, world.now = True, REST_SECONDS
    assert world.log.put(decision(2))
    assert world.stream.taken == ["d-1", "d-2"]


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), max_size=30))
def test_none_is_lost_whatever_is_down_and_when(
    tmp_path_factory: pytest.TempPathFactory, weather: list[tuple[bool, bool, int]]
) -> None:
    world = World(tmp_path_factory.mktemp("world") / "kept")
    told = {}
    for number, (stream, queue, room) in enumerate(weather):
        world.stream.up, world.queue.up, world.stream.room = stream, queue, room
        told[f"d-{number}"] = world.log.put(decision(number))
        assert told[f"d-{number}"] == (f"d-{number}" in world.taken())
        world.now += REST_SECONDS
    world.stream.up, world.stream.room = True, 1000
    for number in range(1000, 1002):
        world.log.put(decision(number))
    assert set(told) <= set(world.taken())
    assert len(world.taken()) == len(set(world.taken()))


class Failing:
    """A client whose every call fails as when there is no network."""

    def __getattr__(self, operation: str) -> Any:
        def call(**parameters: Any) -> None:
            raise EndpointConnectionError(endpoint_url="https://nowhere")

        return call


def test_a_service_that_cannot_be_reached_is_a_carrier_error() -> None:
    for carry in (to_stream(Failing(), "s"), to_queue(Failing, "q")):
        with pytest.raises(CarrierError, match="nowhere"):
            carry([b"{}"])


def test_records_that_kinesis_throttles_are_given_back() -> None:
    class Kinesis:
        def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
            return {"Records": [{"ErrorCode": "Throttled"}, {"SequenceNumber": "1"}]}

    assert to_stream(Kinesis(), "s")([b"1", b"2"]) == [b"1"]


def test_a_decision_that_the_queue_refuses_holds_up_no_other() -> None:
    class Sqs:
        def get_queue_url(self, *, QueueName: str) -> dict[str, Any]:
            return {"QueueUrl": QueueName}

        def send_message(self, *, QueueUrl: str, MessageBody: str) -> dict[str, Any]:
            if MessageBody == "1":
                raise ClientError({"Error": {"Code": "InvalidMessageContents"}}, "SendMessage")
            return {}

    carry = to_queue(Sqs, "q")
    assert carry([b"1", b"2"]) == [b"1"]
    with pytest.raises(CarrierError, match="refused all of 1"):
        carry([b"1"])


def test_the_queue_takes_whatever_text_a_caller_sent() -> None:
    odd = msgspec.structs.replace(decision(1), context={"a": "\uffff\ufffe\x00\x7f🙂"})
    line = encode_record(odd)
    with mock_aws():
        sqs = boto3.client("sqs", region_name="eu-west-1")
        url = sqs.create_queue(QueueName="q")["QueueUrl"]
        assert to_queue(lambda: sqs, "q")([line]) == []
        [message] = sqs.receive_message(QueueUrl=url)["Messages"]
    # As the documentation of SendMessage has it; moto takes more.
    allowed = r"[\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]*"
    assert re.fullmatch(allowed, message["Body"])
    assert not re.fullmatch(allowed, line.decode())
    assert decode_record(message["Body"].encode()) == decode_record(line)


def test_without_a_stream_in_the_environment_nothing_is_logged() -> None:
    assert open_decision_log({}) is None
    assert open_decision_log({"NEXTBEST_DECISIONS": ""}) is None


def test_the_processes_log_puts_on_the_stream_or_else_in_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    names = {"NEXTBEST_DECISIONS": "decisions", "NEXTBEST_UNSENT_DECISIONS": "unsent"}
    with mock_aws():
        kinesis, sqs = boto3.client("kinesis"), boto3.client("sqs")
        kinesis.create_stream(StreamName="decisions", ShardCount=1)
        log = open_decision_log(names)
        assert log is not None
        assert log.put(decision(1))
        kinesis.delete_stream(StreamName="decisions")
        assert not log.put(decision(2))
        url = sqs.create_queue(QueueName="unsent")["QueueUrl"]
        after = open_decision_log(names)
        assert after is not None
        assert after.put(decision(3))
        found = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10)["Messages"]
    assert ids([message["Body"].encode() for message in found]) == ["d-2", "d-3"]


def test_a_warning_is_a_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    decision_log.print_warning({"message": "decisions: no stream"})
    line = json.loads(capsys.readouterr().out)
    assert line == {"level": "WARNING", "message": "decisions: no stream"}
