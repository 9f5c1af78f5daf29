"""A tenant's items in a table of the stage, and the client of whatever a decision waits for: short
timeouts, one retry. In a Lambda."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

FORGOTTEN_AFTER_SECONDS = 400 * 86_400

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


class TenantTable:
    """The items of one tenant in a table. `clock` is in epoch seconds."""

    def __init__(
        self,
        table: str,
        tenant: str,
        *,
        client: Any = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._table, self._tenant, self._clock = table, tenant, clock
        self._client = client or impatient_client()

    def _expires_at(self) -> dict[str, str]:
        """When DynamoDB forgets what is written now and never again."""
        return {"N": str(int(self._clock()) + FORGOTTEN_AFTER_SECONDS)}
