"""A nudge policy of three actions whose right answers are known by construction, for the tests."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from inference import artifact
from inference.artifact import Artifact
from inference.policy import KIND, Policy

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)  # a Monday
FEATURES = [
    {"name": "age", "type": "number", "start": 0, "width": 1, "mean": 40.0, "scale": 10.0}
    | {"fill": 40.0},
    {"name": "spend", "type": "number", "start": 1, "width": 2, "mean": 5.0, "scale": 2.0}
    | {"fill": 7.0},
    {"name": "device", "type": "category", "start": 3, "width": 3, "values": ["app", "web"]},
]
ACTIONS: list[dict[str, Any]] = [
    {"action": "mail", "cost": 0.1, "channel": "email", "purpose": "marketing"},
    {"action": "banner", "cost": 0.0},
    {"action": "none"},
]
# age, spend, spend missing, app, web, other device, intercept
COEFFICIENTS = [
    [0.50, 0.00, 0.00, 0.00, 0.20, 0.00, 0.30],
    [0.00, 0.10, 0.30, 0.10, 0.00, 0.00, 0.20],
    [0.00, 0.00, 0.00, 0.00, 0.00, 0.00, 0.10],
]
PROFILE = {"consents": {"email": True}}


def manifest(**serving: Any) -> dict[str, Any]:
    """A manifest; `serving` is laid over a softmax policy's."""
    base = {
        "policy": "softmax",
        "temperature": 0.5,
        "exploration_floor": 0.06,
        "actions": ACTIONS,
        "features": FEATURES,
        "salt": "salt-1",
    }
    return {"kind": KIND, "serving": {**base, **serving}}


def arrays(*, coefficients: Any = COEFFICIENTS, bootstrap: int = 0) -> dict[str, np.ndarray]:
    """The linear model, and `bootstrap` disturbed copies of it."""
    found = {"coefficients": np.array(coefficients, dtype=np.float32)}
    if bootstrap:
        noise = np.random.default_rng(3).normal(0, 0.3, (bootstrap, 3, 7))
        found["bootstrap_coefficients"] = (found["coefficients"] + noise).astype(np.float32)
    return found


def policy(*, coefficients: Any = COEFFICIENTS, **serving: Any) -> Policy:
    """The policy in memory."""
    draws = 50 if serving.get("policy") == "thompson" else 0
    values = arrays(coefficients=coefficients, bootstrap=draws)
    return Policy(Artifact(manifest=manifest(**serving), arrays=values, tables={}))


def write(folder: Path, **serving: Any) -> Path:
    """The policy on disk."""
    artifact.write(folder, manifest=manifest(**serving), arrays=arrays(), tables={})
    return folder
