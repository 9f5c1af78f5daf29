"""The verdict of a gate on figures of one holdout: every check, and in words what it needed.

Used by `Evaluate` of recommenders and image models; a policy's gate has bounds of its own
(`training.nudge.gate`). The state `Gate` reads it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Number = int | float


def at_least(name: str, metric: str, value: Number, threshold: Number) -> dict[str, Any]:
    """One condition: `value` at least `threshold`."""
    return _check(name, metric, value, threshold, passed=value >= threshold, needed="at least ")


def above(name: str, metric: str, value: Number, threshold: Number) -> dict[str, Any]:
    """One condition: `value` above `threshold`, and above 0: what finds nothing proves nothing."""
    least = max(threshold, 0.0)
    return _check(name, metric, value, least, passed=value > least, needed="more than ")


def _check(
    name: str, metric: str, value: Number, threshold: Number, *, passed: bool, needed: str
) -> dict[str, Any]:
    told = f"{name}: {metric} is {_text(value)}, needed {needed}{_text(threshold)}"
    return {
        "name": name,
        "metric": metric,
        "value": value,
        "threshold": threshold,
        "passed": bool(passed),
        "sentence": told,
    }


def _text(value: Number) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def verdict(checks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """`outcome`, the `reasons` of a refusal, and all `checks`."""
    reasons = [c["sentence"] for c in checks if not c["passed"]]
    return {"outcome": "refused" if reasons else "passed", "reasons": reasons, "checks": checks}
