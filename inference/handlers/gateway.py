"""Direct invocations and API Gateway proxy events (payload format 2.0), told apart in one place."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec


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
