"""What surrounds a nudge decision: idempotency, the profile store, an apprentice. Runs in a Lambda.

Called by the `nudge` handler with a clock and an id; everything it depends on is passed in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from inference.apprentice import Apprentice, Comparison, ComparisonFailure
from inference.decision_log import TakesDecisions
from inference.decision_memory import DecisionMemory, other_request
from inference.decision_records import of_nudge
from inference.decoding import error_answer
from inference.errors import BadRequestError
from inference.guardrail_rules import NONE, aware
from inference.nudge import Nudge
from inference.nudge_contracts import (
    NudgeDecision,
    NudgeRequest,
    NudgeResponse,
    decode_nudge_request,
)
from inference.profiles import (
    ANSWERS_KEPT,
    Answered,
    Change,
    Contact,
    InMemoryProfiles,
    ProfileChangedError,
    ProfileStore,
    ProfileStoreError,
    Stored,
)

_ATTEMPTS = 5


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
    logged: bool | None


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
        logged=response.logged,
    )


@dataclass(frozen=True)
class NudgeService:
    """A policy and who it is; what it remembers; who watches it; where its decisions go."""

    nudge: Nudge
    run: str
    version: str
    profiles: ProfileStore = field(default_factory=InMemoryProfiles)
    decisions: DecisionMemory = field(default_factory=DecisionMemory)
    apprentice: Apprentice | None = None
    log: Callable[[Record], None] = print_line
    decision_log: TakesDecisions | None = None

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
        return self._decide(request, now=now, decision_id=key)

    def _decide(self, request: NudgeRequest, *, now: datetime, decision_id: str) -> NudgeResponse:
        """Decide on what the store knows, and count it there; again where somebody else was
        faster, and without the store where that goes on."""
        for _ in range(_ATTEMPTS):
            seen = self._seen(request)
            known = self._answered(request, seen, now=now, decision_id=decision_id)
            if known is not None:
                return known
            response = self._decided(request, seen, now=now, decision_id=decision_id)
            try:
                response = self._counted(request, seen, response)
                break
            except ProfileChangedError:
                continue
        else:
            seen = None
            response = self._decided(request, seen, now=now, decision_id=decision_id)
        response = self._sent(request, response)
        if request.decision_key is not None:
            self.decisions.remember(request, response, at=now)
        if request.now is None:  # in a replay nothing is logged
            self._tell(request, response, seen, now=now)
        return response

    def _answered(
        self, request: NudgeRequest, seen: Stored | None, *, now: datetime, decision_id: str
    ) -> NudgeResponse | None:
        """What was answered under the request's key, by this process or by whichever the store
        knows. Raises `BadRequestError` if another request got it."""
        if request.decision_key is None:
            return None
        stored = Stored() if seen is None else seen
        known = self.decisions.recall(decision_id, request, now=now, erased_at=stored.erased_at)
        found = stored.answers.get(decision_id)
        if known is not None or found is None or aware(found.at) <= now - ANSWERS_KEPT:
            return known
        if found.request != _digest(request):
            raise other_request(request)
        known = self._sent(request, msgspec.json.decode(found.response, type=NudgeResponse))
        self.decisions.remember(request, known, at=aware(found.at))
        return known

    def _sent(self, request: NudgeRequest, response: NudgeResponse) -> NudgeResponse:
        """The answer, and whether its decision is in the log. One that was answered before is sent
        again: who answered it may have died before that."""
        if self.decision_log is None or request.now is not None:
            return response
        logged = self.decision_log.put(of_nudge(request, response))
        return msgspec.structs.replace(response, logged=logged)

    def _decided(
        self, request: NudgeRequest, seen: Stored | None, *, now: datetime, decision_id: str
    ) -> NudgeResponse:
        profile = None if seen is None else seen.profile
        decision = self.nudge.decide(request, profile=profile, now=now, decision_id=decision_id)
        return self._response(decision)

    def _response(self, decision: NudgeDecision) -> NudgeResponse:
        return NudgeResponse(
            *msgspec.structs.astuple(decision),
            model_version=self.version,
            run=self.run,
            tenant=self.nudge.tenant,
        )

    def _seen(self, request: NudgeRequest) -> Stored | None:
        """What to decide by; None where the store did not answer."""
        if request.profile is not None:
            return Stored(request.profile)
        try:
            return self.profiles.read(request.customer_id)
        except ProfileStoreError:
            return None

    def _counted(
        self, request: NudgeRequest, seen: Stored | None, response: NudgeResponse
    ) -> NudgeResponse:
        """Remember the contact for later caps, and the answer for its key; where that fails, the
        answer says so. Raises `ProfileChangedError`."""
        if request.profile is not None or request.now is not None or seen is None:
            return response
        change = _change(request, response)
        if change is None:
            return response
        try:
            self.profiles.record(request.customer_id, seen, change)
        except ProfileChangedError:
            raise
        except ProfileStoreError:
            return msgspec.structs.replace(response, degraded=True)
        return response

    def _tell(
        self,
        request: NudgeRequest,
        response: NudgeResponse,
        seen: Stored | None,
        *,
        now: datetime,
    ) -> None:
        """Ask the apprentice, and log."""
        if self.apprentice is not None:
            found = self.apprentice.compare(
                request,
                response,
                profile=None if seen is None else seen.profile,
                now=now,
                salt=self.nudge.salt,
                run=self.run,
            )
            self.log(found)
        self.log(response)


def _change(request: NudgeRequest, response: NudgeResponse) -> Change | None:
    """What a decision adds to the profile; None where there is nothing to remember."""
    at = response.decided_at
    contact = None if response.action == NONE else Contact(response.action, at)
    if request.decision_key is None:
        return Change(at, contact) if contact else None
    answer = Answered(at, _digest(request), msgspec.json.encode(response))
    return Change(at, contact, (response.decision_id, answer))


def _digest(request: NudgeRequest) -> str:
    return hashlib.sha256(msgspec.json.encode(request)).hexdigest()[:32]
