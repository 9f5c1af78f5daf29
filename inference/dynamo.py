"""The DynamoDB client of whatever a decision waits for: short timeouts, one retry. In a Lambda."""

from __future__ import annotations

from typing import Any

_TIMEOUT_SECONDS = 0.5
_ATTEMPTS = 2


def impatient_client() -> Any:
    """A boto3 client that gives up within about a second."""
    import boto3
    from botocore.config import Config

    return boto3.client(
        "dynamodb",
        config=Config(
            connect_timeout=_TIMEOUT_SECONDS,
            read_timeout=_TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
        ),
    )
