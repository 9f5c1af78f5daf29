"""One line a decision, or a request of events: structured log and CloudWatch metrics at once.

The line is JSON in CloudWatch's embedded metric format, so that Logs turns it into metrics with
the dimensions service, stage, tenant and model. It never holds a customer's id or the request.
It is encoded here, in a few microseconds: a logging library takes as long as the decision.
Source: docs.aws.amazon.com, "Specification: Embedded metric format".
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

import msgspec

from inference.guardrail_rules import NONE

NAMESPACE = "nextbest"
DIMENSIONS = ("service", "stage", "tenant", "model")
METRICS = {
    "Decisions": "Count",
    "BadRequests": "Count",
    "Fallbacks": "Count",
    "Empty": "Count",
    "Degraded": "Count",
    "Unlogged": "Count",
    "LatencyMs": "Milliseconds",
}
NUDGE_METRICS = {
    "Decisions": "Count",
    "BadRequests": "Count",
    "Nudges": "Count",
    "Holdouts": "Count",
    "Degraded": "Count",
    "Unlogged": "Count",
    "LatencyMs": "Milliseconds",
}

EVENT_METRICS = {
    "Events": "Count",
    "Rejected": "Count",
    "BadRequests": "Count",
    "LatencyMs": "Milliseconds",
}


def _directives(metrics: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {
            "Namespace": NAMESPACE,
            "Dimensions": [DIMENSIONS],
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in metrics.items()],
        }
    ]


_PRODUCT_DIRECTIVES = _directives(METRICS)
_NUDGE_DIRECTIVES = _directives(NUDGE_METRICS)
_EVENT_DIRECTIVES = _directives(EVENT_METRICS)
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True)
class Telemetry:
    """Writes the lines of one decision function. `model` is the kind of model that answers."""

    service: str
    stage: str
    tenant: str
    model: str
    stream: TextIO | None = None

    def decided(self, answer: Mapping[str, Any], *, request_id: str, latency_ms: float) -> None:
        """Log an answer with products, good or bad: counts and times, nothing of whom or what."""
        error = answer.get("error")
        products = answer.get("products", ())
        told = {
            "run": answer.get("run"),
            "model_version": answer.get("model_version"),
            "decision_id": answer.get("decision_id"),
            "products": len(products),
            "unknown_products": len(answer.get("unknown_products", ())),
            "Decisions": 1,
            "Fallbacks": 1 if answer.get("fallback") else 0,
            "Empty": 0 if products or error else 1,
            "Degraded": int(answer.get("degraded") is True),
            "Unlogged": int(answer.get("logged") is False),
        }
        self._write(told, _PRODUCT_DIRECTIVES, error, request_id=request_id, latency_ms=latency_ms)

    def nudged(self, decision: Mapping[str, Any], *, request_id: str, latency_ms: float) -> None:
        """Log a nudge with all that audits its draw; `decision` holds nothing of the customer."""
        told = {
            **decision,
            "Decisions": 1,
            "Nudges": 0 if decision["action"] == NONE else 1,
            "Holdouts": int(decision["holdout"]),
            "Degraded": int(decision["degraded"]),
            "Unlogged": int(decision["logged"] is False),
        }
        self._write(told, _NUDGE_DIRECTIVES, None, request_id=request_id, latency_ms=latency_ms)

    def refused(self, error: Mapping[str, Any], *, request_id: str, latency_ms: float) -> None:
        """Log a bad request for a nudge: which field it was, not what it held."""
        told = {"Decisions": 1, "Nudges": 0, "Holdouts": 0, "Degraded": 0, "Unlogged": 0}
        self._write(told, _NUDGE_DIRECTIVES, error, request_id=request_id, latency_ms=latency_ms)

    def received(self, answer: Mapping[str, Any], *, request_id: str, latency_ms: float) -> None:
        """Log what came of events that were sent: counts, and of the first fault its place."""
        told = {"Events": answer.get("accepted", 0), "Rejected": len(answer.get("rejected", ()))}
        error = answer.get("error")
        if error and error["status"] != 400:
            error = None
        self._write(
            told,
            _EVENT_DIRECTIVES,
            error,
            request_id=request_id,
            latency_ms=latency_ms,
            message="events",
        )

    def _write(
        self,
        told: Mapping[str, Any],
        directives: list[dict[str, Any]],
        error: Mapping[str, Any] | None,
        *,
        request_id: str,
        latency_ms: float,
        message: str = "decision",
    ) -> None:
        line = {
            "level": "INFO",
            "message": "bad request" if error else message,
            "service": self.service,
            "stage": self.stage,
            "tenant": self.tenant,
            "model": self.model,
            "request_id": request_id,
            "path": error["path"] if error else None,
            **told,
            "BadRequests": 1 if error else 0,
            "LatencyMs": round(latency_ms, 3),
            "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": directives},
        }
        stream = self.stream or sys.stdout  # Lambda takes it to CloudWatch Logs
        stream.write(_ENCODER.encode(line).decode() + "\n")
        stream.flush()


def open_telemetry(*, service: str, model: str, stream: TextIO | None = None) -> Telemetry:
    """The telemetry of this process, from `NEXTBEST_STAGE` and `NEXTBEST_TENANT`."""
    return Telemetry(
        service=service,
        stage=os.environ.get("NEXTBEST_STAGE", "unknown"),
        tenant=os.environ.get("NEXTBEST_TENANT", "unknown"),
        model=model,
        stream=stream,
    )
