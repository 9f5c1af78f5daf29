"""Every dead letter is a message that SQS takes, whatever somebody sent."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from inference.dead_letters import MAX_RECORD_BYTES, DeadLetter, grave
from inference.errors import BadRequestError
from inference.event_contracts import decode_event

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
MESSAGE_BYTES = 2**20


def buried(record: bytes, error: Exception, *, path: str = "$") -> dict[str, Any]:
    """What arrives in a queue that takes what SQS does."""
    found: list[str] = []

    class Queue:
        def send_message(self, *, QueueUrl: str, MessageBody: str) -> None:
            assert len(MessageBody.encode()) <= MESSAGE_BYTES
            found.append(MessageBody)

    grave("q", sqs=Queue())(DeadLetter.of(record, error, path=path, now=NOW))
    letter: dict[str, Any] = json.loads(found[0])
    return letter


@pytest.mark.parametrize("size", [0, 10, MAX_RECORD_BYTES])
def test_a_record_is_kept_as_it_was(size: int) -> None:
    letter = buried(b"\xff" * size, ValueError("bad"))
    assert base64.b64decode(letter["record"]) == b"\xff" * size
    assert letter["error"] == "bad"


def test_of_a_record_that_no_message_holds_the_beginning_is_kept_and_said() -> None:
    letter = buried(b"{" + b"\0" * 2**20, ValueError("bad"))
    assert base64.b64decode(letter["record"]) == b"{" + b"\0" * (MAX_RECORD_BYTES - 1)
    assert letter["error"] == "bad (the first 700,000 of 1,048,577 bytes are kept)"


@pytest.mark.parametrize("character", ["k", "\uffff", "\x01", "\U0001f600"])
def test_an_error_that_quotes_what_was_sent_is_no_longer_than_a_message(character: str) -> None:
    record = json.dumps({character * 10**6: 1, "type": "reward"}, ensure_ascii=False).encode()
    with pytest.raises(BadRequestError) as caught:
        decode_event(record, now=NOW)
    buried(record, caught.value, path=caught.value.path)
    buried(record, ValueError(character * 10**6), path=character * 10**6)
