"""Requests with the answers that a version must give before it goes live, exactly as served."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import numpy as np

from inference.nudge import Nudge
from inference.nudge_contracts import NudgeDecision, decode_nudge_request
from inference.policy import Policy
from training.nudge.champion import decode_columns
from training.nudge.prepare import Prepared

_CONTEXTS = 6
_SHOWN = ("action", "propensity", "propensities", "excluded")


def golden_requests(
    policy: Policy, prepared: Prepared, *, tenant: str, now: datetime
) -> list[dict[str, Any]]:
    """Requests of every kind with the policy's answers; clock, profile and key are pinned."""
    nudge = Nudge(policy, tenant=tenant)
    channels = {s.channel for s in policy.parameters.actions if s.channel}
    willing = {"consents": dict.fromkeys(sorted(channels), True)}
    contexts = _contexts(prepared)
    requests: list[dict[str, Any]]
    requests = [{"context": context, "profile": willing} for context in contexts]
    requests += [
        {"context": {}, "profile": willing},
        {"context": contexts[0], "profile": {}},
        {"context": contexts[0], "profile": willing, "actions": policy.actions[:2]},
        {"context": contexts[0], "profile": willing, "time_zone": "Asia/Tokyo"},
    ]
    return [_golden(nudge, request, number, now) for number, request in enumerate(requests)]


def _contexts(prepared: Prepared) -> list[dict[str, Any]]:
    rows = np.unique(np.linspace(0, len(prepared) - 1, _CONTEXTS).astype(int))
    columns = decode_columns(prepared, rows)
    return [
        {name: _plain(values[row]) for name, values in columns.items()} for row in range(len(rows))
    ]


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    return None if np.isnan(value) else float(value)


def _golden(nudge: Nudge, request: dict[str, Any], number: int, now: datetime) -> dict[str, Any]:
    customer, key = f"golden-{number}", f"{nudge.salt}-{number}"
    full = {**request, "customer_id": customer, "decision_key": key, "now": now.isoformat()}
    decoded = decode_nudge_request(full)
    decision: NudgeDecision = nudge.decide(
        decoded,
        profile=decoded.profile,
        now=now,
        decision_id=nudge.keyed_id(customer, key),
    )
    answer = msgspec.to_builtins(decision)
    return {"request": full, "response": {name: answer[name] for name in _SHOWN}}
