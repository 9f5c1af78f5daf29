"""Requests and answers of the nudge decision, as msgspec structs. Runs in a Lambda.

Strict like every contract of ours: an unknown field, a wrong type or a value out of bounds is a
`BadRequestError` that names the field's path.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from inference.decoding import check_finite, check_ids, decode
from inference.features import ContextValue
from inference.guardrail_rules import Name
from inference.guardrails import Exclusion
from inference.profiles import Profile

MAX_CONTEXT = 1000


class NudgeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ask for a nudge: for this customer, now, in this context, which of these actions, or none?

    `actions` absent means all the policy knows; `none` is always one of them. The same
    `decision_key` gets the same answer. `now` is for replays: no contact is counted.
    """

    customer_id: Name
    context: Annotated[dict[Name, ContextValue], Meta(max_length=MAX_CONTEXT)] = {}
    actions: Annotated[list[Name], Meta(max_length=1000)] | None = None
    time_zone: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    profile: Profile | None = None
    decision_key: Name | None = None
    now: datetime | None = None


class NudgeDecision(msgspec.Struct, frozen=True):
    """The core's answer. `propensities` and `values` are over the eligible actions, in the
    policy's order; `propensity` is the chosen action's. Values are in the worth's unit."""

    decision_id: str
    action: str
    propensity: float
    propensities: dict[str, float]
    values: dict[str, float]
    excluded: list[Exclusion]
    holdout: bool
    decided_at: datetime
    expires_at: datetime
    unknown_context: list[str]
    missing_context: list[str]
    degraded: bool


class NudgeResponse(NudgeDecision, frozen=True, kw_only=True):
    """What the caller gets: the decision and who made it; `logged` as in `ProductResponse`."""

    model_version: str
    run: str
    tenant: str
    logged: bool | None = None


_decoder = msgspec.json.Decoder(NudgeRequest)


def decode_nudge_request(request: Any) -> NudgeRequest:
    """A request from JSON bytes, text or plain values. Raises `BadRequestError`."""
    found = decode(request, _decoder)
    check_ids(found, "customer_id", "decision_key")
    check_finite(found.context, "$.context")
    if found.profile is not None:
        check_finite(found.profile.attributes, "$.profile.attributes")
    return found
