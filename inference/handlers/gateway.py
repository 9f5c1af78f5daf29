"""Direct invocations and API Gateway proxy events (payload format 2.0), told apart in one place."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec


class Answering(Protocol):
    """A service's answer to a payload, good or bad, as plain values."""

    def __call__(self, payload: Any, *, now: datetime) -> dict[str, Any]: ...


class Logging(Protocol):
    """What takes an answer into the log; see `inference.telemetry`."""

    def __call__(
        self, answer: Mapping[str, Any], *, request_id: str, latency_ms: float
    ) -> None: ...


def reply_and_log(event: Any, context: Any, answer: Answering, log: Logging) -> dict[str, Any]:
    """Reply to an event, and log how long that took."""
    began, now = time.perf_counter(), datetime.now(UTC)

    def answered(payload: Any) -> dict[str, Any]:
        found = answer(payload, now=now)
        log(
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
