"""Direct invocations and API Gateway proxy events (payload format 2.0), told apart in one place."""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from inference.telemetry import Telemetry


class Answering(Protocol):
    """A service's answer to a payload, good or bad, as plain values."""

    def __call__(self, payload: Any, *, now: datetime, decision_id: str) -> dict[str, Any]: ...


def reply_and_log(
    event: Any, context: Any, answer: Answering, telemetry: Telemetry
) -> dict[str, Any]:
    """Reply to an event whose answer has products, with the clock and an id of its own, and log
    how long that took."""
    began, now, decision_id = time.perf_counter(), datetime.now(UTC), uuid.uuid4().hex

    def answered(payload: Any) -> dict[str, Any]:
        found = answer(payload, now=now, decision_id=decision_id)
        telemetry.decided(
            found,
            request_id=getattr(context, "aws_request_id", ""),
            latency_ms=1000 * (time.perf_counter() - began),
        )
        return found

    return reply(event, answered)


def reply(event: Any, answer: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """What `answer` says to the event's request, in the form its sender expects."""
    if not (isinstance(event, dict) and "requestContext" in event and "version" in event):
        return answer(event)
    found = answer(body_of(event))
    return {
        "statusCode": found["error"]["status"] if "error" in found else 200,
        "headers": {"content-type": "application/json"},
        "body": msgspec.json.encode(found).decode(),
    }


def body_of(event: dict[str, Any]) -> bytes:
    """The request's bytes; what cannot be decoded is no JSON, which the contract refuses."""
    body = event.get("body") or ""
    try:
        return base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    except (ValueError, AttributeError):
        return b""
