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
# SQS refuses these two of the characters that JSON leaves as they are.
_ESCAPED = str.maketrans({"\ufffe": "\\ufffe", "\uffff": "\\uffff"})


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record: when it was refused, why, its bytes in base64, and the stream it came from."""

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
        return cls(
            at=now,
            error=str(error),
            path=path,
            record=base64.b64encode(record).decode(),
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
