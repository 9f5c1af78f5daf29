"""The `nudge` Lambda: contract in, guardrails and draw, contract out. Called by shops and apps.

The environment (`NEXTBEST_MODEL`, `NEXTBEST_RUN`, `NEXTBEST_TENANT`, `NEXTBEST_PROFILES`,
`NEXTBEST_DECISIONS`; `NEXTBEST_APPRENTICE` and `NEXTBEST_APPRENTICE_RUN` where one watches) is read
once; models are opened at the first request, or before SnapStart takes its snapshot.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from inference.apprentice import Apprentice
from inference.decision_log import open_decision_log
from inference.dynamo_profiles import DynamoProfiles
from inference.handlers.gateway import reply
from inference.model_store import fetch_model
from inference.nudge import Nudge
from inference.nudge_contracts import NudgeResponse
from inference.nudge_service import NudgeService, Record, line_of, print_line
from inference.policy import KIND, Policy
from inference.profiles import InMemoryProfiles, ProfileStore
from inference.telemetry import Telemetry, open_telemetry


@functools.cache
def service() -> NudgeService:
    """The service of this process; a broken model raises `ArtifactError` and is not cached."""
    tenant = os.environ["NEXTBEST_TENANT"]
    return NudgeService(
        nudge=_open(os.environ["NEXTBEST_MODEL"], tenant=tenant),
        run=os.environ["NEXTBEST_RUN"],
        version=os.environ.get("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST"),
        apprentice=_apprentice(tenant),
        profiles=_profiles(tenant),
        decision_log=open_decision_log(),
    )


def _profiles(tenant: str) -> ProfileStore:
    """The stage's table, or what this process remembers where it has none."""
    table = os.environ.get("NEXTBEST_PROFILES")
    return DynamoProfiles(table, tenant) if table else InMemoryProfiles()


def _open(model: str, *, tenant: str) -> Nudge:
    return Nudge(Policy.open(fetch_model(model)), tenant=tenant)


def _apprentice(tenant: str) -> Apprentice | None:
    artifacts = os.environ.get("NEXTBEST_APPRENTICE")
    if not artifacts:
        return None
    nudge = _open(f"{artifacts}/model.tar.gz", tenant=tenant)
    return Apprentice(nudge, run=os.environ["NEXTBEST_APPRENTICE_RUN"])


@functools.cache
def telemetry() -> Telemetry:
    return open_telemetry(service="nudge", model=KIND)


@dataclass(frozen=True)
class _Asked:
    """The request under way; what the service decides of it is logged with its id and latency."""

    request_id: str
    began: float

    def measured(self) -> dict[str, Any]:
        latency_ms = 1000 * (time.perf_counter() - self.began)
        return {"request_id": self.request_id, "latency_ms": latency_ms}

    def log(self, record: Record) -> None:
        if isinstance(record, NudgeResponse):
            telemetry().nudged(msgspec.structs.asdict(line_of(record)), **self.measured())
        else:
            print_line(record)


def handler(event: Any, context: Any) -> dict[str, Any]:
    """Answer a direct invocation, or an API Gateway proxy event (payload format 2.0)."""
    asked = _Asked(getattr(context, "aws_request_id", ""), began=time.perf_counter())
    here = dataclasses.replace(service(), log=asked.log)
    clock, decision_id = datetime.now(UTC), uuid.uuid4().hex

    def answer(payload: Any) -> dict[str, Any]:
        found = here.answer(payload, now=clock, decision_id=decision_id)
        if "error" in found:
            telemetry().refused(found["error"], **asked.measured())
        return found

    return reply(event, answer)


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":  # pragma: no cover (AWS only)
    from snapshot_restore_py import register_before_snapshot

    register_before_snapshot(service)
