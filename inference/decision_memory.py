"""Answers given already, by decision id: asking again is not deciding again. Runs in a Lambda.

This memory is one process's: it knows what the profile store did not take or no longer answers for,
what was asked with a profile or a time of its own, and what this process has logged. Like the store
it keeps an answer for `ANSWERS_KEPT`, and none from before the customer was erased. Across
processes the same key has the same decision id, and so the same draw over the same eligible set.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import NamedTuple

from inference.errors import BadRequestError
from inference.nudge_contracts import NudgeRequest, NudgeResponse
from inference.profiles import ANSWERS_KEPT


class _Remembered(NamedTuple):
    request: NudgeRequest
    decision: NudgeResponse
    at: datetime


class DecisionMemory:
    """The last decisions that had a key, the oldest forgotten first."""

    def __init__(self, *, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._decisions: OrderedDict[str, _Remembered] = OrderedDict()

    def recall(
        self, decision_id: str, request: NudgeRequest, *, now: datetime, erased_at: datetime | None
    ) -> NudgeResponse | None:
        """The decision of that id, if it is kept still and the customer was not erased since.
        Raises `BadRequestError` if another request got it."""
        found = self._decisions.get(decision_id)
        if found is None:
            return None
        if found.at <= now - ANSWERS_KEPT or (erased_at is not None and found.at <= erased_at):
            del self._decisions[decision_id]
            return None
        if found.request != request:
            raise other_request(request)
        return found.decision

    def remember(self, request: NudgeRequest, decision: NudgeResponse, *, at: datetime) -> None:
        """Keep a decision, under its id; `at` is when it was answered."""
        self._decisions[decision.decision_id] = _Remembered(request, decision, at)
        if len(self._decisions) > self._capacity:
            self._decisions.popitem(last=False)


def other_request(request: NudgeRequest) -> BadRequestError:
    """What to raise where a decision key comes again with another question."""
    return BadRequestError(
        f"the decision key {request.decision_key!r} was used for another request of this "
        "customer; a new question needs a new key",
        path="$.decision_key",
    )
