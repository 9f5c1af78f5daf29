"""What surrounds a nudge decision: idempotency, the profile store, an apprentice. Runs in a Lambda.

Called by the `nudge` handler with a clock and an id; everything it depends on is passed in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from inference.apprentice import Apprentice, Comparison, ComparisonFailure
from inference.contracts import error_answer
from inference.decision_memory import DecisionMemory
from inference.errors import BadRequestError
from inference.guardrail_rules import NONE
from inference.nudge import Nudge
from inference.nudge_contracts import (
    NudgeDecision,
    NudgeRequest,
    NudgeResponse,
    decode_nudge_request,
)
from inference.profiles import Contact, InMemoryProfiles, Profile, ProfileStore, ProfileStoreError

_NOBODY = Profile()


class DecisionLine(msgspec.Struct, frozen=True, kw_only=True):
    """A decision in the log: enough to audit its draw, nothing of the customer or the context."""

    event: str = "nudge"
    tenant: str
    run: str
    model_version: str
    decision_id: str
    action: str
    propensity: float
    propensities: dict[str, float]
    excluded: dict[str, str]
    holdout: bool
    degraded: bool


Record = NudgeResponse | Comparison | ComparisonFailure


def print_line(record: Record) -> None:
    """A record as one JSON line of the function's log."""
    line = line_of(record) if isinstance(record, NudgeResponse) else record
    print(msgspec.json.encode(line).decode(), flush=True)


def line_of(response: NudgeResponse) -> DecisionLine:
    """What of an answer may be logged; an exclusion's detail may not."""
    return DecisionLine(
        tenant=response.tenant,
        run=response.run,
        model_version=response.model_version,
        decision_id=response.decision_id,
        action=response.action,
        propensity=response.propensity,
        propensities=response.propensities,
        excluded={found.action: found.rule for found in response.excluded},
        holdout=response.holdout,
        degraded=response.degraded,
    )


@dataclass(frozen=True)
class NudgeService:
    """A policy and who it is; what it remembers; who watches it."""

    nudge: Nudge
    run: str
    version: str
    profiles: ProfileStore = field(default_factory=InMemoryProfiles)
    decisions: DecisionMemory = field(default_factory=DecisionMemory)
    apprentice: Apprentice | None = None
    log: Callable[[Record], None] = print_line

    def answer(self, payload: Any, *, now: datetime, decision_id: str) -> dict[str, Any]:
        """The answer to a request, good or bad, as plain values."""
        try:
            response = self.respond(decode_nudge_request(payload), now=now, decision_id=decision_id)
        except BadRequestError as error:
            return error_answer(error)
        return dict(msgspec.to_builtins(response))

    def respond(self, request: NudgeRequest, *, now: datetime, decision_id: str) -> NudgeResponse:
        """The answer to a valid request; a decision key replaces `decision_id`.

        Raises `BadRequestError` for a context, zone or key that cannot be used.
        """
        if request.decision_key is None:
            return self._decide(request, now=now, decision_id=decision_id)
        key = self.nudge.keyed_id(request.customer_id, request.decision_key)
        known = self.decisions.recall(key, request)
        if known is None:
            known = self._decide(request, now=now, decision_id=key)
            self.decisions.remember(request, known)
        return known

    def _decide(self, request: NudgeRequest, *, now: datetime, decision_id: str) -> NudgeResponse:
        profile = self._profile(request)
        decision = self.nudge.decide(request, profile=profile, now=now, decision_id=decision_id)
        if request.now is not None:  # a replay: nobody is contacted, nothing is logged
            return self._response(decision)
        if self.apprentice is not None:
            found = self.apprentice.compare(
                request, decision, profile=profile, now=now, salt=self.nudge.salt, run=self.run
            )
            self.log(found)
        if request.profile is None and decision.action != NONE:
            decision = self._record(request.customer_id, decision)
        response = self._response(decision)
        self.log(response)
        return response

    def _response(self, decision: NudgeDecision) -> NudgeResponse:
        return NudgeResponse(
            *msgspec.structs.astuple(decision),
            model_version=self.version,
            run=self.run,
            tenant=self.nudge.tenant,
        )

    def _profile(self, request: NudgeRequest) -> Profile | None:
        """The profile to decide by; None where the store did not answer."""
        if request.profile is not None:
            return request.profile
        try:
            return self.profiles.read(request.customer_id) or _NOBODY
        except ProfileStoreError:
            return None

    def _record(self, customer_id: str, decision: NudgeDecision) -> NudgeDecision:
        """Count the contact for later caps; where that fails, the answer says so."""
        try:
            self.profiles.record(customer_id, Contact(decision.action, decision.decided_at))
        except ProfileStoreError:
            return msgspec.structs.replace(decision, degraded=True)
        return decision
