"""Records that can never land as they are: onto the stage's dead-letter queue, with the reason.

Runs in the Lambdas that consume the streams; `nextbest events dead-letters` and `replay` read them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

EVENTS, DECISIONS = "events", "decisions"
MAX_RECORD_BYTES = 700_000  # in base64, with what is said of it, less than the 1 MiB of SQS
_MAX_TEXT = 1000  # an error may quote what the caller sent
# SQS refuses these two of the characters that JSON leaves as they are.
_ESCAPED = str.maketrans({"\ufffe": "\\ufffe", "\uffff": "\\uffff"})


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record: when it was refused, why, its bytes in base64, and the stream it came from.

    Of a record that no message of SQS holds the beginning is kept, and the error says so: were the
    letter refused too, its whole batch would come again and again.
    """

    at: datetime
    error: str
    path: str
    record: str
    stream: str = EVENTS

    @classmethod
    def of(
        cls,
        record: bytes,
        error: Exception,
        *,
        path: str = "$",
        now: datetime,
        stream: str = EVENTS,
    ) -> DeadLetter:
        kept, told = record[:MAX_RECORD_BYTES], str(error)[:_MAX_TEXT]
        if len(kept) < len(record):
            told += f" (the first {len(kept):,} of {len(record):,} bytes are kept)"
        return cls(
            at=now,
            error=told,
            path=path[:_MAX_TEXT],
            record=base64.b64encode(kept).decode(),
            stream=stream,
        )


Bury = Callable[[DeadLetter], None]


def grave(queue_url: str, *, sqs: Any) -> Bury:
    """Where letters go: an SQS queue. `sqs` is a boto3 client."""

    def bury(letter: DeadLetter) -> None:
        sqs.send_message(QueueUrl=queue_url, MessageBody=message_body(msgspec.json.encode(letter)))

    return bury


def message_body(line: bytes) -> str:
    """JSON as a message that SQS takes, whatever text it holds."""
    return line.decode().translate(_ESCAPED)
