"""The `next-best-product` Lambda: contract in, core, contract out. Called by engagement services.

The environment (`NEXTBEST_MODEL`, `NEXTBEST_RUN`, `NEXTBEST_TENANT`, `NEXTBEST_PROFILES`,
`NEXTBEST_PRODUCTS`, `NEXTBEST_DECISIONS`) is read once; the model is opened at the first request,
or before SnapStart takes its snapshot.
"""

from __future__ import annotations

import functools
import os
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import msgspec

from inference.contracts import (
    HistoryEvent,
    ProductRequest,
    ProductResponse,
    decode_request,
)
from inference.decision_log import TakesDecisions, open_decision_log
from inference.decision_records import of_products
from inference.decoding import error_answer
from inference.dynamo_products import live_model
from inference.dynamo_profiles import DynamoProfiles
from inference.errors import BadRequestError
from inference.handlers.gateway import reply_and_log
from inference.live_products import LiveModel
from inference.model_store import fetch_model
from inference.profiles import ProfileStore, ProfileStoreError
from inference.recommender import KIND, Recommender
from inference.telemetry import Telemetry, open_telemetry


@dataclass(frozen=True)
class Service:
    """A model and who it is: what every answer carries; where customers are known and decisions go,
    if at all, and `live` with what changed of products."""

    recommender: Recommender
    tenant: str
    run: str
    version: str
    profiles: ProfileStore | None = None
    live: LiveModel[Recommender] | None = None
    decision_log: TakesDecisions | None = None

    def answer(self, payload: Any, *, now: datetime, decision_id: str) -> dict[str, Any]:
        """The answer to a request, good or bad."""
        try:
            asked = decode_request(payload)
            request, degraded = self._informed(asked)
            recommender, stale = self._current(request)
            drawn = request.decision_id or decision_id
            found = recommender.recommend(request, now=now, decision_id=drawn)
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
            history_from=_history_from(asked, request),
            degraded=degraded or stale,
        )
        if self.decision_log is not None and request.now is None:
            logged = self.decision_log.put(of_products(request, response, at=now))
            response = msgspec.structs.replace(response, logged=logged)
        return dict(msgspec.to_builtins(response))

    def _current(self, request: ProductRequest) -> tuple[Recommender, bool]:
        """A replay (`now`) is of the model as it was trained."""
        if self.live is None or request.now:
            return self.recommender, False
        return self.live.current()

    def _informed(self, request: ProductRequest) -> tuple[ProductRequest, bool]:
        """The request with the customer's history, and whether that could not be read. A history
        in the request wins, and a replay (`now`) is of the request alone."""
        customer_id = request.customer_id
        if self.profiles is None or customer_id is None or request.history or request.now:
            return request, False
        try:
            known = self.profiles.read(customer_id).interactions
        except ProfileStoreError:
            return request, True
        history = [HistoryEvent(seen.product_id, seen.event, seen.at) for seen in known]
        return msgspec.structs.replace(request, history=history), False


def _history_from(
    asked: ProductRequest, informed: ProductRequest
) -> Literal["request", "profile"] | None:
    if asked.history:
        return "request"
    return "profile" if informed.history else None


@functools.cache
def service() -> Service:
    """The service of this process; a broken model raises `ArtifactError` and is not cached."""
    tenant, table = os.environ["NEXTBEST_TENANT"], os.environ.get("NEXTBEST_PROFILES")
    recommender = Recommender.open(fetch_model(os.environ["NEXTBEST_MODEL"]))
    return Service(
        recommender=recommender,
        tenant=tenant,
        run=os.environ["NEXTBEST_RUN"],
        version=os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        profiles=DynamoProfiles(table, tenant) if table else None,
        live=live_model(recommender, os.environ.get("NEXTBEST_PRODUCTS"), tenant),
        decision_log=open_decision_log(),
    )


@functools.cache
def telemetry() -> Telemetry:
    return open_telemetry(service="next-best-product", model=KIND)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer a direct invocation, or an API Gateway proxy event (payload format 2.0)."""
    answer = functools.partial(service().answer, decision_id=uuid.uuid4().hex)
    return reply_and_log(event, context, answer, telemetry().decided)


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":  # pragma: no cover (AWS only)
    from snapshot_restore_py import register_before_snapshot

    register_before_snapshot(service)
