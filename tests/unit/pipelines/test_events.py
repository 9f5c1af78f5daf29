"""Putting events, and dead letters of both kinds; against moto's Kinesis and SQS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import boto3
import pytest
from moto import mock_aws

from pipelines import events
from pipelines.errors import EventError
from pipelines.queues import url_of

REGION = "eu-west-1"


class MotoStage:
    """A stage whose clients are moto's, or those given."""

    event_stream, dead_letters = "events", "dead-letters"

    def __init__(self, **clients: Any) -> None:
        self._clients = clients

    def client(self, service: str) -> Any:
        return self._clients.get(service) or boto3.client(service, region_name=REGION)


@pytest.fixture
def stage() -> Iterator[Any]:
    with mock_aws():
        found = MotoStage()
        found.client("kinesis").create_stream(StreamName="events", ShardCount=1)
        found.client("sqs").create_queue(QueueName="dead-letters")
        yield found


def view(number: int) -> bytes:
    head = {"schema_version": 1, "type": "interaction", "event_id": str(number), "tenant": "acme"}
    fields = {"customer_id": "c-1", "product_id": "p", "event": "view"}
    return json.dumps({**head, **fields, "timestamp": "2026-01-01T00:00:00Z"}).encode()


def on_stream(stage: Any) -> list[dict[str, Any]]:
    kinesis = stage.client("kinesis")
    shard = kinesis.list_shards(StreamName="events")["Shards"][0]["ShardId"]
    where = {"StreamName": "events", "ShardId": shard, "ShardIteratorType": "TRIM_HORIZON"}
    iterator = kinesis.get_shard_iterator(**where)["ShardIterator"]
    return [{**r, "shard": shard} for r in kinesis.get_records(ShardIterator=iterator)["Records"]]


def test_good_lines_are_put_and_the_others_named(stage: Any) -> None:
    count, refused = events.put(stage, [view(1), b"\n", b"{", view(2)])
    assert [record["Data"] for record in on_stream(stage)] == [view(1), view(2)]
    assert (count, [(found.line, found.path) for found in refused]) == (2, [(3, "$")])


def test_a_tenant_that_is_not_there_is_refused(stage: Any) -> None:
    """Regression: a misspelt tenant's events were put, archived and never found again."""
    lines = [view(1), view(2).replace(b"acme", b"acne")]
    count, [refused] = events.put(stage, lines, tenants=["acme", "zoo"])
    assert (count, refused.line, refused.path) == (1, 2, "$.tenant")
    assert refused.message == "there is no 'acne' (known: acme, zoo)"


class Throttling:
    """Takes the first record of each call only."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def put_records(self, *, StreamName: str, Records: list[dict[str, Any]]) -> dict[str, Any]:
        self.taken.append(Records[0]["Data"])
        throttled = {"ErrorCode": "ProvisionedThroughputExceededException"}
        return {"Records": [{}, *[throttled] * (len(Records) - 1)]}


def test_what_is_throttled_is_put_again_but_not_for_ever() -> None:
    kinesis, waits = Throttling(), []
    stage: Any = MotoStage(kinesis=kinesis)
    assert events.put_records(stage, [view(n) for n in range(3)], sleep=waits.append) == 3
    assert kinesis.taken == [view(0), view(1), view(2)]
    assert waits == [0.1, 0.2]
    with pytest.raises(EventError, match="refused 3 records"):
        events.put_records(stage, [view(n) for n in range(9)], sleep=waits.append)


def batch_note(records: list[dict[str, Any]]) -> str:
    """Lambda's message to an on-failure destination, of the first and the last of records."""
    info = {
        "shardId": records[0]["shard"],
        "startSequenceNumber": records[0]["SequenceNumber"],
        "endSequenceNumber": records[-1]["SequenceNumber"],
        "batchSize": 2,
    }
    condition = {"condition": "RetryAttemptsExhausted"}
    return json.dumps({"requestContext": condition, "timestamp": "t", "KinesisBatchInfo": info})


class Sparing:
    """Kinesis that gives one record a call, and sometimes none, as it may."""

    def __init__(self, kinesis: Any) -> None:
        self._kinesis, self._calls = kinesis, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kinesis, name)

    def get_records(self, *, ShardIterator: str) -> dict[str, Any]:
        self._calls += 1
        if self._calls % 2:
            return {
                "Records": [],
                "NextShardIterator": ShardIterator,
                "MillisBehindLatest": 1,
            }
        found: dict[str, Any] = self._kinesis.get_records(ShardIterator=ShardIterator, Limit=1)
        return found


def test_a_batch_that_failed_is_read_from_the_stream_and_put_again(stage: Any) -> None:
    """To its last record, though another's stands in between and the stream gives few at once."""
    events.put_records(stage, [view(n) for n in range(5)])
    sqs = stage.client("sqs")
    note = batch_note(on_stream(stage)[1:4])
    sqs.send_message(QueueUrl=url_of(sqs, stage.dead_letters), MessageBody=note)
    letters = events.dead_letters(stage)
    assert letters[0].error.startswith("RetryAttemptsExhausted: 2 records")
    sparing: Any = MotoStage(kinesis=Sparing(stage.client("kinesis")))
    assert events.replay(sparing, letters) == 3
    assert [record["Data"] for record in on_stream(stage)[5:]] == [view(1), view(2), view(3)]
    assert events.dead_letters(stage, hidden_seconds=0) == []


def test_a_batch_whose_end_the_stream_does_not_keep_stays_a_letter(stage: Any) -> None:
    events.put_records(stage, [view(1)])
    sqs = stage.client("sqs")
    first = on_stream(stage)[0]
    beyond = {**first, "SequenceNumber": str(int(first["SequenceNumber"]) + 10)}
    note = batch_note([first, beyond])
    sqs.send_message(QueueUrl=url_of(sqs, stage.dead_letters), MessageBody=note)
    letters = events.dead_letters(stage)
    with pytest.raises(EventError, match="no longer keeps all"):
        events.replay(stage, letters)
    events.show_again(stage, letters)
    assert len(events.dead_letters(stage)) == 1


def test_a_letter_that_cannot_be_put_again_stays(stage: Any) -> None:
    sqs = stage.client("sqs")
    queue = url_of(sqs, stage.dead_letters)
    letter = {"at": "t", "error": "bad", "path": "$", "record": "e30="}
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(letter))
    letters = events.dead_letters(stage)
    stage.client("kinesis").delete_stream(StreamName="events")
    with pytest.raises(Exception, match="ResourceNotFound"):
        events.replay(stage, letters)
    events.show_again(stage, letters)
    assert [found.records for found in events.dead_letters(stage)] == [(b"{}",)]
