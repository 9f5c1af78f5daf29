"""How a Kinesis stream comes to a Lambda: with the correction as on AWS, without it not.

A test that fails on the bare stage says that ministack has caught up: drop the correction.
"""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.local.event_sources import retry_and_split_batches_of_kinesis
from pipelines.stage import Stage
from tests.integration.bare import stage_without

CODE = """
import base64, boto3, json, os, time

def handler(event, context):
    texts = [base64.b64decode(r["kinesis"]["data"]).decode() for r in event["Records"]]
    boto3.client("sqs").send_message(QueueUrl=os.environ["SEEN"], MessageBody=json.dumps(texts))
    if "slow" in texts:
        time.sleep(6)
    if "poison" in texts and os.environ["MODE"] == "raise":
        raise ValueError("poison")
    bad = [r["kinesis"]["sequenceNumber"] for r, t in zip(event["Records"], texts) if t == "poison"]
    return {"batchItemFailures": [{"itemIdentifier": number} for number in bad]}
"""
ROLE = "arn:aws:iam::000000000000:role/any-role"
RECORDS = ["a", "b", "c", "poison", "d", "e", "f", "g"]
LONG_SECONDS, SHORT_SECONDS = 40.0, 6.0


@pytest.fixture(scope="module")
def bare_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    root = tmp_path_factory.mktemp("bare-sources")
    with stage_without(root, retry_and_split_batches_of_kinesis) as stage:
        yield stage


class Line:
    """A stream, a function on it that tells what it saw, and where it leaves what it cannot do."""

    def __init__(self, stage: Stage, name: str, *, mode: str = "raise", **settings: Any) -> None:
        self.stage, self.name, sqs = stage, name, stage.client("sqs")
        self.seen_url = sqs.create_queue(QueueName=f"{name}-seen")["QueueUrl"]
        self.left_url = sqs.create_queue(QueueName=f"{name}-left")["QueueUrl"]
        kinesis = stage.client("kinesis")
        kinesis.create_stream(StreamName=name, ShardCount=1)
        kinesis.get_waiter("stream_exists").wait(StreamName=name, WaiterConfig={"Delay": 1})
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("line.py", CODE)
        stage.client("lambda").create_function(
            FunctionName=name,
            Runtime="python3.13",
            Handler="line.handler",
            Role=ROLE,
            Timeout=30,
            Code={"ZipFile": buffer.getvalue()},
            Environment={"Variables": {"SEEN": self.seen_url, "MODE": mode}},
        )
        self.put(RECORDS)  # before the mapping, so that the first batch is all of them
        left = f"arn:aws:sqs:{stage.region}:{stage.account}:{name}-left"
        stage.client("lambda").create_event_source_mapping(
            EventSourceArn=f"arn:aws:kinesis:{stage.region}:{stage.account}:stream/{name}",
            FunctionName=name,
            StartingPosition="TRIM_HORIZON",
            BatchSize=100,
            DestinationConfig={"OnFailure": {"Destination": left}},
            **settings,
        )

    def put(self, texts: list[str]) -> None:
        records = [{"Data": text.encode(), "PartitionKey": "k"} for text in texts]
        self.stage.client("kinesis").put_records(StreamName=self.name, Records=records)

    def seen(self, *, count: int = 0) -> list[list[str]]:
        """The batches since it was asked last, in order; `count` of them are waited for."""
        found: list[list[str]] = []
        until = time.monotonic() + LONG_SECONDS
        while True:
            found += [json.loads(message) for message in self._taken(self.seen_url)]
            if len(found) >= count or time.monotonic() > until:
                return found
            time.sleep(0.1)

    def letters(self, *, within: float) -> list[dict[str, Any]]:
        until = time.monotonic() + within
        while time.monotonic() < until:
            if found := self._taken(self.left_url):
                return [json.loads(message) for message in found]
            time.sleep(0.1)
        return []

    def _taken(self, url: str) -> list[str]:
        sqs, found = self.stage.client("sqs"), []
        while messages := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(message["Body"])
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return found


def test_a_poison_record_is_found_by_halves_and_left_behind(
    local_stage: Stage, bare_stage: Stage
) -> None:
    settings = {"BisectBatchOnFunctionError": True, "MaximumRetryAttempts": 2}
    corrected, bare = (Line(stage, "halves", **settings) for stage in (local_stage, bare_stage))
    (letter,) = corrected.letters(within=LONG_SECONDS)
    batch = letter["KinesisBatchInfo"]
    assert letter["requestContext"]["condition"] == "RetryAttemptsExhausted"
    assert (batch["batchSize"], batch["startSequenceNumber"]) == (1, batch["endSequenceNumber"])
    corrected.put(["after"])
    expected = [
        RECORDS,
        ["a", "b", "c", "poison"],
        ["a", "b"],
        ["c", "poison"],
        ["c"],
        ["poison"],
        ["poison"],
        ["poison"],
        ["d", "e", "f", "g"],
        ["after"],
    ]
    assert corrected.seen(count=len(expected)) == expected
    assert bare.letters(within=SHORT_SECONDS) == []
    assert all(batch[: len(RECORDS)] == RECORDS for batch in bare.seen())


def test_without_halving_the_whole_batch_is_left_behind_after_the_last_try(
    local_stage: Stage, bare_stage: Stage
) -> None:
    settings = {"MaximumRetryAttempts": 1}
    corrected, bare = (Line(stage, "whole", **settings) for stage in (local_stage, bare_stage))
    (letter,) = corrected.letters(within=LONG_SECONDS)
    assert letter["KinesisBatchInfo"]["batchSize"] == len(RECORDS)
    assert corrected.seen(count=2) == [RECORDS, RECORDS]
    assert bare.letters(within=SHORT_SECONDS) == []


def test_of_a_partial_failure_only_the_rest_comes_again(
    local_stage: Stage, bare_stage: Stage
) -> None:
    settings = {"FunctionResponseTypes": ["ReportBatchItemFailures"], "MaximumRetryAttempts": 1}
    corrected, bare = (
        Line(stage, "partial", mode="report", **settings) for stage in (local_stage, bare_stage)
    )
    (letter,) = corrected.letters(within=LONG_SECONDS)
    assert letter["KinesisBatchInfo"]["batchSize"] == 5
    assert corrected.seen() == [RECORDS, RECORDS[3:]]
    assert bare.seen(count=1) == [RECORDS]
    time.sleep(2)
    assert bare.seen() == []  # a failure that was reported counted as none


def test_a_slow_function_holds_up_no_other(local_stage: Stage, bare_stage: Stage) -> None:
    waits = []
    for stage in (local_stage, bare_stage):
        other, slow = Line(stage, "other", mode="report"), Line(stage, "slow", mode="report")
        assert other.seen(count=1) == slow.seen(count=1) == [RECORDS]  # both are warm now
        slow.put(["slow"])
        assert slow.seen(count=1) == [["slow"]]
        other.put(["quick"])
        began = time.monotonic()
        assert other.seen(count=1) == [["quick"]]
        waits.append(time.monotonic() - began)
    assert waits[0] < 3 < waits[1]
