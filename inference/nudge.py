"""A nudge decision: guardrails, then the policy's draw over what is left. Runs in a Lambda.

Pure: clock, profile and id are passed in. Called by `NudgeService`, and by `Evaluate` for the
golden requests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from inference.errors import BadRequestError
from inference.guardrail_rules import NONE, as_utc
from inference.guardrails import Exclusion, Guardrails, Situation
from inference.nudge_contracts import NudgeDecision, NudgeRequest
from inference.policy import Policy, draw, uniform
from inference.profiles import Profile

UNKNOWN_ACTION = "unknown_action"


class Nudge:
    """A policy with its guardrails, for one tenant."""

    def __init__(self, policy: Policy, *, tenant: str) -> None:
        self.policy = policy
        self.tenant = tenant
        self.salt = policy.parameters.salt
        self._rules = policy.parameters.guardrails
        self._guardrails = Guardrails(policy.parameters.actions, self._rules)
        self._index_of = {action: index for index, action in enumerate(policy.actions)}
        self._all = range(len(policy.actions))
        self._none = self._index_of.get(NONE)

    def decide(
        self,
        request: NudgeRequest,
        *,
        profile: Profile | None,
        now: datetime,
        decision_id: str,
        salt: str | None = None,
    ) -> NudgeDecision:
        """The decision of a request. `profile` None is a store that did not answer.

        `salt` replaces the policy's own (an apprentice draws with the running policy's). Raises
        `BadRequestError` for a context or time zone that cannot be used.
        """
        context, moment = request.context, now if request.now is None else _replayed(request.now)
        situation = self._guardrails.situation(
            profile, context=context, now=moment, time_zone=request.time_zone
        )
        candidates, unknown = self._candidates(request.actions)
        is_held_out = self.is_held_out(request.customer_id)
        eligible, excluded = self._guardrails.check(candidates, situation, is_held_out=is_held_out)
        names, values, probabilities = self._weigh(eligible, situation)
        position = draw(
            probabilities, decision_id=decision_id, salt=self.salt if salt is None else salt
        )
        action = names[position]
        unknown_context, missing_context = self.policy.encoder.gaps(context)
        return NudgeDecision(
            decision_id=decision_id,
            action=action,
            propensity=probabilities[position],
            propensities=dict(zip(names, probabilities, strict=True)),
            values=dict(zip(names, values, strict=False)),
            excluded=unknown + excluded if unknown else excluded,
            holdout=is_held_out,
            decided_at=moment,
            expires_at=self._guardrails.expires_at(action, situation),
            unknown_context=unknown_context,
            missing_context=missing_context,
            degraded=profile is None,
        )

    def _weigh(
        self, eligible: Sequence[int], situation: Situation
    ) -> tuple[list[str], list[float], list[float]]:
        """Names, values and probabilities of the eligible; `none` where there is nothing else."""
        x = self.policy.encode(situation.context)
        if not eligible:
            return [NONE], [], [1.0]
        values, probabilities = self.policy.weigh(x, eligible)
        actions = self.policy.actions
        return [actions[index] for index in eligible], values, probabilities

    def is_held_out(self, customer_id: str) -> bool:
        """Whether the customer is in the tenant's global holdout: for good, by a salted hash."""
        share = self._rules.holdout_share
        return share > 0 and uniform(self._rules.holdout_salt or self.tenant, customer_id) < share

    def keyed_id(self, customer_id: str, decision_key: str) -> str:
        """The id of the decision under that key of that customer, 32 hex digits."""
        text = "\0".join((self.tenant, customer_id, decision_key))
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def _candidates(self, actions: list[str] | None) -> tuple[Sequence[int], list[Exclusion]]:
        """Indices in the policy's order, and the named actions it does not know."""
        if actions is None:
            return self._all, []
        wanted = {self._index_of[name] for name in actions if name in self._index_of}
        if self._none is not None:
            wanted.add(self._none)
        unknown = [
            Exclusion(name, UNKNOWN_ACTION, "the policy does not know it")
            for name in dict.fromkeys(actions)
            if name not in self._index_of and name != NONE
        ]
        return sorted(wanted), unknown


def _replayed(moment: datetime) -> datetime:
    """The time of a replay, in UTC; not near the ends of the calendar: days are added to it."""
    if not 1970 < moment.year < 9000:
        raise BadRequestError(f"{moment.isoformat()} is no time to decide for", path="$.now")
    return as_utc(moment)
