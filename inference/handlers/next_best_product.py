"""The `next-best-product` Lambda: contract in, core, contract out. Called by engagement services.

The environment (`NEXTBEST_MODEL`, `NEXTBEST_RUN`, `NEXTBEST_TENANT`) is read once; the model is
opened at the first request, or before SnapStart takes its snapshot.
"""

from __future__ import annotations

import functools
import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from inference.contracts import ProductResponse, decode_request, error_answer
from inference.errors import BadRequestError
from inference.handlers.gateway import reply
from inference.model_store import fetch_model
from inference.recommender import KIND, Recommender
from inference.telemetry import Telemetry, open_telemetry


@dataclass(frozen=True)
class Service:
    """A model and who it is: what every answer carries."""

    recommender: Recommender
    tenant: str
    run: str
    version: str

    def answer(self, payload: Any, *, now: datetime, decision_id: str) -> dict[str, Any]:
        """The answer to a request, good or bad."""
        try:
            request = decode_request(payload)
            drawn = request.decision_id or decision_id
            found = self.recommender.recommend(request, now=now, decision_id=drawn)
        except BadRequestError as error:
            return error_answer(error)
        response = ProductResponse(
            decision_id=drawn,
            decision=request.decision,
            model_version=self.version,
            run=self.run,
            tenant=self.tenant,
            products=found.products,
            unknown_products=found.unknown_products,
            fallback=found.fallback,
            empty_reason=found.empty_reason,
        )
        return dict(msgspec.to_builtins(response))


@functools.cache
def service() -> Service:
    """The service of this process; a broken model raises `ArtifactError` and is not cached."""
    return Service(
        recommender=Recommender.open(fetch_model(os.environ["NEXTBEST_MODEL"])),
        tenant=os.environ["NEXTBEST_TENANT"],
        run=os.environ["NEXTBEST_RUN"],
        version=os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
    )


@functools.cache
def telemetry() -> Telemetry:
    return open_telemetry(service="next-best-product", model=KIND)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer a direct invocation, or an API Gateway proxy event (payload format 2.0)."""
    here, began = service(), time.perf_counter()
    clock, decision_id = datetime.now(UTC), uuid.uuid4().hex

    def answer(payload: Any) -> dict[str, Any]:
        found = here.answer(payload, now=clock, decision_id=decision_id)
        telemetry().decided(
            found,
            request_id=getattr(context, "aws_request_id", ""),
            latency_ms=1000 * (time.perf_counter() - began),
        )
        return found

    return reply(event, answer)


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":  # pragma: no cover (AWS only)
    from snapshot_restore_py import register_before_snapshot

    register_before_snapshot(service)
