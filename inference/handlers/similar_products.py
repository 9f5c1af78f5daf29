"""The `similar-products` Lambda: contract in, core, contract out. Called by shops and apps.

The environment (`NEXTBEST_MODEL`, `NEXTBEST_RUN`, `NEXTBEST_TENANT`, `NEXTBEST_PRODUCTS`,
`NEXTBEST_DECISIONS`) is read once; the model is opened at the first request, or before SnapStart
takes its snapshot.
"""

from __future__ import annotations

import functools
import os
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlparse

import msgspec

from inference.decision_log import TakesDecisions, open_decision_log
from inference.decision_records import of_similar
from inference.decoding import error_answer
from inference.dynamo_products import live_model
from inference.errors import BadRequestError
from inference.handlers.gateway import reply_and_log
from inference.live_products import LiveModel
from inference.model_store import fetch_model
from inference.picture_store import PictureStore
from inference.telemetry import Telemetry, open_telemetry
from inference.visual import KIND, Visual
from inference.visual_contracts import SimilarRequest, SimilarResponse, decode_similar_request


@dataclass(frozen=True)
class Service:
    """A model and who it is: what every answer carries; `live` with what changed since; where
    decisions go, if at all."""

    visual: Visual
    tenant: str
    run: str
    version: str
    live: LiveModel[Visual] | None = None
    decision_log: TakesDecisions | None = None

    def answer(self, payload: Any, *, now: datetime, decision_id: str) -> dict[str, Any]:
        """The answer to a request, good or bad."""
        try:
            request = decode_similar_request(payload)
            visual, degraded = self._current(request)
            found = visual.similar(request, now=now)
        except BadRequestError as error:
            return error_answer(error)
        response = SimilarResponse(
            decision_id=request.decision_id or decision_id,
            model_version=self.version,
            run=self.run,
            tenant=self.tenant,
            products=found.products,
            labels=found.labels,
            unknown_products=found.unknown_products,
            empty_reason=found.empty_reason,
            degraded=degraded,
        )
        if self.decision_log is not None and request.now is None:
            logged = self.decision_log.put(of_similar(request, response, at=now))
            response = msgspec.structs.replace(response, logged=logged)
        return dict(msgspec.to_builtins(response))

    def _current(self, request: SimilarRequest) -> tuple[Visual, bool]:
        """A replay (`now`) is of the model as it was trained."""
        if self.live is None or request.now:
            return self.visual, False
        return self.live.current()


@functools.cache
def service() -> Service:
    """The service of this process; a broken model raises `ArtifactError` and is not cached."""
    model, tenant = os.environ["NEXTBEST_MODEL"], os.environ["NEXTBEST_TENANT"]
    store = PictureStore(bucket=urlparse(model).netloc, prefix=f"tenants/{tenant}/pictures/")
    visual = Visual.open(fetch_model(model), fetch=store.fetch)
    return Service(
        visual=visual,
        tenant=tenant,
        run=os.environ["NEXTBEST_RUN"],
        version=os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        live=live_model(visual, os.environ.get("NEXTBEST_PRODUCTS"), tenant),
        decision_log=open_decision_log(),
    )


@functools.cache
def telemetry() -> Telemetry:
    return open_telemetry(service="similar-products", model=KIND)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer a direct invocation, or an API Gateway proxy event (payload format 2.0)."""
    answer = functools.partial(service().answer, decision_id=uuid.uuid4().hex)
    return reply_and_log(event, context, answer, telemetry().decided)


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":  # pragma: no cover (AWS only)
    from snapshot_restore_py import register_before_snapshot

    register_before_snapshot(service)
