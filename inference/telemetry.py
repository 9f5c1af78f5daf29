"""One line a decision: structured log and CloudWatch metrics at once. Runs in a Lambda.

The line is JSON in CloudWatch's embedded metric format, so that Logs turns it into metrics with
the dimensions service, stage, tenant and model. It never holds a customer's id or the request.
Source: docs.aws.amazon.com, "Specification: Embedded metric format".
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

from aws_lambda_powertools.logging import Logger

NAMESPACE = "nextbest"
DIMENSIONS = ("service", "stage", "tenant", "model")
_METRICS = (
    ("Decisions", "Count"),
    ("BadRequests", "Count"),
    ("Fallbacks", "Count"),
    ("Empty", "Count"),
    ("LatencyMs", "Milliseconds"),
)
_DIRECTIVES = [
    {
        "Namespace": NAMESPACE,
        "Dimensions": [list(DIMENSIONS)],
        "Metrics": [{"Name": name, "Unit": unit} for name, unit in _METRICS],
    }
]


@dataclass(frozen=True)
class Telemetry:
    """Writes the lines of one decision function. `model` is the kind of model that answers."""

    logger: Logger
    stage: str
    tenant: str
    model: str

    def decided(self, answer: Mapping[str, Any], *, request_id: str, latency_ms: float) -> None:
        """Log an answer, good or bad: counts and times, nothing of whom or what it was about."""
        error = answer.get("error")
        products = answer.get("products", ())
        self.logger.info(
            "bad request" if error else "decision",
            _aws={"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": _DIRECTIVES},
            stage=self.stage,
            tenant=self.tenant,
            model=self.model,
            run=answer.get("run"),
            model_version=answer.get("model_version"),
            decision_id=answer.get("decision_id"),
            request_id=request_id,
            path=error["path"] if error else None,
            products=len(products),
            unknown_products=len(answer.get("unknown_products", ())),
            Decisions=1,
            BadRequests=1 if error else 0,
            Fallbacks=1 if answer.get("fallback") else 0,
            Empty=0 if products or error else 1,
            LatencyMs=round(latency_ms, 3),
        )


def open_telemetry(*, service: str, model: str, stream: TextIO | None = None) -> Telemetry:
    """The telemetry of this process, from `NEXTBEST_STAGE`, `NEXTBEST_TENANT` and
    `POWERTOOLS_LOG_LEVEL`; `stream` is standard output unless given."""
    return Telemetry(
        logger=Logger(
            service=service,
            level=os.environ.get("POWERTOOLS_LOG_LEVEL", "INFO"),
            stream=stream,
            location=None,
        ),
        stage=os.environ.get("NEXTBEST_STAGE", "unknown"),
        tenant=os.environ.get("NEXTBEST_TENANT", "unknown"),
        model=model,
    )
