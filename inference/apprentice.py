"""A policy that learns the job: it decides beside the running one, and nobody acts on it.

Its choice is drawn with the running policy's salt, so that equal policies always agree. Each
comparison is one JSON line in the function's log; `nextbest models show` sums them up. Runs in a
Lambda.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from inference.nudge import Nudge
from inference.nudge_contracts import NudgeDecision, NudgeRequest
from inference.profiles import Profile

EVENT = "apprentice"


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What both chose. `overlap` is the probability they have in common, 1 for equal policies."""

    event: str = EVENT
    tenant: str
    run: str
    apprentice_run: str
    decision_id: str
    action: str
    propensity: float
    apprentice_action: str
    apprentice_propensity: float
    agrees: bool
    overlap: float


class ComparisonFailure(msgspec.Struct, frozen=True, kw_only=True):
    """The apprentice could not decide; the running policy's answer went out all the same."""

    event: str = f"{EVENT}-failed"
    tenant: str
    run: str
    apprentice_run: str
    decision_id: str
    error: str


class Apprentice:
    """The policy of `run`, watching."""

    def __init__(self, nudge: Nudge, *, run: str) -> None:
        self.nudge = nudge
        self.run = run

    def compare(
        self,
        request: NudgeRequest,
        decision: NudgeDecision,
        *,
        profile: Profile | None,
        now: datetime,
        salt: str,
        run: str,
    ) -> Comparison | ComparisonFailure:
        """The apprentice's choice beside `decision`, which the policy of `run` made."""
        who = {"tenant": self.nudge.tenant, "run": run, "apprentice_run": self.run}
        try:
            own = self.nudge.decide(
                request, profile=profile, now=now, decision_id=decision.decision_id, salt=salt
            )
        except Exception as error:  # noqa: BLE001  (whatever it is, the answer must go out)
            name = f"{type(error).__name__}: {error}"
            return ComparisonFailure(**who, decision_id=decision.decision_id, error=name)
        return Comparison(
            **who,
            decision_id=decision.decision_id,
            action=decision.action,
            propensity=decision.propensity,
            apprentice_action=own.action,
            apprentice_propensity=own.propensity,
            agrees=own.action == decision.action,
            overlap=overlap(decision.propensities, own.propensities),
        )


def overlap(one: dict[str, float], other: dict[str, float]) -> float:
    """Σ min(p, q): one less the total variation distance."""
    return sum(min(probability, other.get(action, 0.0)) for action, probability in one.items())
