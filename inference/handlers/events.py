"""The `events` Lambda of a tenant: what its shops and apps send, onto the stage's stream.

Called directly or by the tenant's HTTP API. The environment (`NEXTBEST_TENANT`,
`NEXTBEST_EVENTS`) is read once.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from inference.event_stream import EventStream
from inference.handlers.gateway import reply_and_log
from inference.intake import Intake
from inference.telemetry import Telemetry, open_telemetry

_TIMEOUT_SECONDS = 2.0
_ATTEMPTS = 2


@functools.cache
def intake() -> Intake:
    """The intake of this process."""
    import boto3
    from botocore.config import Config

    config = Config(
        connect_timeout=_TIMEOUT_SECONDS,
        read_timeout=_TIMEOUT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
    )
    stream = EventStream(os.environ["NEXTBEST_EVENTS"], boto3.client("kinesis", config=config))
    return Intake(os.environ["NEXTBEST_TENANT"], stream)


@functools.cache
def telemetry() -> Telemetry:
    return open_telemetry(service="events", model="none")


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer a direct invocation, or an API Gateway proxy event (payload format 2.0)."""
    return reply_and_log(event, context, intake().answer, telemetry().received)
