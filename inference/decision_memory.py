"""Answers given already, by decision id: asking again is not deciding again. Runs in a Lambda.

This memory is one process's, and spares the store a read. What the store remembers holds across
processes; where the request brought its own profile, the same key still has the same decision id,
and so the same draw over the same eligible set.
"""

from __future__ import annotations

from collections import OrderedDict

from inference.errors import BadRequestError
from inference.nudge_contracts import NudgeRequest, NudgeResponse


class DecisionMemory:
    """The last decisions that had a key, the oldest forgotten first."""

    def __init__(self, *, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._decisions: OrderedDict[str, tuple[NudgeRequest, NudgeResponse]] = OrderedDict()

    def recall(self, decision_id: str, request: NudgeRequest) -> NudgeResponse | None:
        """The decision of that id. Raises `BadRequestError` if another request got it."""
        found = self._decisions.get(decision_id)
        if found is None:
            return None
        if found[0] != request:
            raise other_request(request)
        return found[1]

    def remember(self, request: NudgeRequest, decision: NudgeResponse) -> None:
        """Keep a decision, under its id."""
        self._decisions[decision.decision_id] = (request, decision)
        if len(self._decisions) > self._capacity:
            self._decisions.popitem(last=False)


def other_request(request: NudgeRequest) -> BadRequestError:
    """What to raise where a decision key comes again with another question."""
    return BadRequestError(
        f"the decision key {request.decision_key!r} was used for another request of this "
        "customer; a new question needs a new key",
        path="$.decision_key",
    )
