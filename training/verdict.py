"""The verdict of a gate on figures of one holdout: every check, and in words what was missed.

Used by `Evaluate` of recommenders and image models; a policy's gate has bounds of its own
(`training.nudge.gate`). The state `Gate` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def check(name: str, metric: str, value: float, threshold: float) -> dict[str, Any]:
    """One condition: `value` at least `threshold`."""
    return {
        "name": name,
        "metric": metric,
        "value": value,
        "threshold": threshold,
        "passed": bool(value >= threshold),
    }


def verdict(checks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`outcome`, the `reasons` of a refusal, and all `checks`."""
    reasons = [
        f"{c['name']}: {c['metric']} is {c['value']:.4f}, needed {c['threshold']:.4f}"
        for c in checks
        if not c["passed"]
    ]
    return {"outcome": "refused" if reasons else "passed", "reasons": reasons, "checks": checks}
