"""What CloudWatch is told of a sync, in the namespace and dimensions of `inference.telemetry`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from inference.telemetry import DIMENSIONS, NAMESPACE

SERVICE, MODEL = "sync", "data"


def metrics_of(account: Mapping[str, Any]) -> dict[str, float]:
    """Metrics by name; a share that could not be computed has none."""
    drift, joined = account["drift"], account["nudges"]["joined"]
    found = {
        "NewInteractions": account["events"]["interactions"]["new"],
        "NewDecisions": account["events"]["decisions"]["new"],
        "WaitingDecisions": joined["waiting"],
        "UnjoinedRewards": joined["rewards"] - joined["rewards_joined"],
        "RowsSetAside": sum(account["set_aside"].values()),
        "Drift": drift["largest"],
        "VolumeRatio": drift["volume_ratio"],
        "UnknownProducts": drift["unknown_products"],
        "UnknownCustomers": drift["unknown_customers"],
    }
    return {name: float(value) for name, value in found.items() if value is not None}


def dimensions(*, stage: str, tenant: str) -> dict[str, str]:
    values = (SERVICE, stage, tenant, MODEL)
    return dict(zip(DIMENSIONS, values, strict=True))


def embedded_line(account: Mapping[str, Any], *, stage: str, tenant: str) -> dict[str, Any]:
    """A line of a Lambda's log that CloudWatch reads metrics from."""
    metrics = metrics_of(account)
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [DIMENSIONS],
        "Metrics": [{"Name": name, "Unit": "None"} for name in metrics],
    }
    return {
        "level": "INFO",
        "message": "synced",
        **dimensions(stage=stage, tenant=tenant),
        "sync": account["id"],
        **metrics,
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
    }
