"""Decisions from the stream and from the queue into the archive; what is none is a dead letter."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from inference.archive import Tables
from inference.dead_letters import DeadLetter
from inference.decision_records import DecisionRecord, encode_record
from inference.handlers import record_decisions
from inference.handlers.record_decisions import DecisionRecorder
from tests.unit.inference.handlers.test_record_events import Bucket
from tests.unit.inference.small_model import NOW


def line(decision_id: str, *, tenant: str = "acme") -> bytes:
    who = {"tenant": tenant, "model_version": "7", "run": "run-1", "decision": "nudge"}
    record = DecisionRecord(schema_version=1, decision_id=decision_id, at=NOW, **who)
    return encode_record(record)


def test_decisions_are_archived_under_their_tenant_and_the_others_buried() -> None:
    bucket, buried = Bucket(), list[DeadLetter]()
    lines = [line("d-1"), b"{", line("d-2", tenant="zoo"), line("d-3")]
    DecisionRecorder(bucket, buried.append).record(lines, now=NOW, source="shard-0")
    found = {tenant: [r["decision_id"] for r in rows] for (tenant, _), rows in bucket.rows.items()}
    assert found == {"acme": ["d-1", "d-3"], "zoo": ["d-2"]}
    assert {table for _, table in bucket.rows} == {"decisions"}
    [letter] = buried
    assert (base64.b64decode(letter.record), letter.stream) == (b"{", "decisions")


def test_a_bucket_that_does_not_answer_fails_the_batch() -> None:
    recorder = DecisionRecorder(Bucket(error=OSError("no bucket")), [].append)
    with pytest.raises(OSError, match="no bucket"):
        recorder.record([line("d-1")], now=NOW, source="shard-0")


def kinesis(raw: bytes) -> dict[str, Any]:
    return {"eventID": "shard-1:17", "kinesis": {"data": base64.b64encode(raw).decode()}}


def sqs(raw: bytes) -> dict[str, Any]:
    return {"eventSourceARN": "arn:aws:sqs:eu-west-1:1:unsent", "body": raw.decode()}


@pytest.mark.parametrize(("wrap", "source"), [(kinesis, "shard-1"), (sqs, "unsent")])
def test_the_handler_reads_both_sources(
    wrap: Any, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = Sources()
    recorder = DecisionRecorder(bucket, [].append)
    monkeypatch.setattr(record_decisions, "recorder", lambda: recorder)
    record_decisions.handler({"Records": [wrap(line("d-1")), wrap(line("d-2"))]}, None)
    assert bucket.sources == [source]
    assert [row["decision_id"] for row in bucket.rows[("acme", "decisions")]] == ["d-1", "d-2"]


class Sources(Bucket):
    """Remembers where rows came from."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str] = []

    def write(self, tenant: str, tables: Tables, *, source: str) -> list[str]:
        self.sources.append(source)
        return super().write(tenant, tables, source=source)
