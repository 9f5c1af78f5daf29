"""Which actions a policy may draw from: rules applied before the draw, so that propensities are
over the eligible set. Runs in a Lambda.

In this order, and an excluded action carries the first that excluded it: consent, eligibility,
validity, quiet hours, frequency caps, cool-down after a conversion, global holdout. What is not
known excludes: no consent on record is no consent. `none` is always eligible.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

from inference.errors import BadRequestError
from inference.features import Context
from inference.guardrail_checks import SharedChecks, Situation, checks_of, concerns
from inference.guardrail_rules import NONE, ActionSpec, GuardrailRules, as_utc, open_zone
from inference.profiles import Profile
from inference.quiet_hours import QuietWindow, quiet_from

HOLDOUT = "holdout"


class Exclusion(msgspec.Struct, frozen=True):
    """An action that could not be drawn: the first rule against it, and the fact in words."""

    action: str
    rule: str
    detail: str


class Guardrails:
    """The rules of a policy's actions, compiled; `check` is pure."""

    def __init__(self, actions: Sequence[ActionSpec], rules: GuardrailRules) -> None:
        self.rules = rules
        self._names = [spec.action for spec in actions]
        self._channel_of = {spec.action: spec.channel for spec in actions}
        shared = SharedChecks(rules)
        self._checks = [checks_of(spec, rules, shared) for spec in actions]
        self._ends = {spec.action: _end(spec, rules) for spec in actions}
        self._valid = timedelta(minutes=rules.decision_valid_minutes)
        self._default_zone = open_zone(rules.default_time_zone) or ZoneInfo("UTC")

    def situation(
        self, profile: Profile | None, *, context: Context, now: datetime, time_zone: str | None
    ) -> Situation:
        """The facts of one decision; `profile` None is a store that did not answer.

        Raises `BadRequestError` for a time zone that does not exist.
        """
        known = profile or _NOBODY
        zone = self._default_zone
        if time_zone is not None:
            zone = _zone(time_zone, path="$.time_zone")
        elif known.time_zone is not None:
            zone = _zone(known.time_zone, path="$.profile.time_zone")
        return Situation(
            known,
            context=context,
            now=now,
            zone=zone,
            channel_of=self._channel_of,
            is_known=profile is not None,
        )

    def check(
        self, candidates: Sequence[int], situation: Situation, *, is_held_out: bool
    ) -> tuple[list[int], list[Exclusion]]:
        """Indices of the eligible among the candidates, in order, and why the others are not."""
        eligible: list[int] = []
        excluded: list[Exclusion] = []
        for index in candidates:
            if not is_held_out and not self._checks[index]:
                eligible.append(index)
                continue
            found = self._first(index, situation, is_held_out=is_held_out)
            if found is None:
                eligible.append(index)
            else:
                excluded.append(found)
        return eligible, excluded

    def _first(self, index: int, situation: Situation, *, is_held_out: bool) -> Exclusion | None:
        name, findings = self._names[index], situation.findings
        for rule, check in self._checks[index]:
            if check not in findings:
                findings[check] = check(situation)
            detail = findings[check]
            if detail is not None:
                return Exclusion(name, rule, detail)
        if is_held_out and name != NONE:
            return Exclusion(name, HOLDOUT, "the customer is in the global holdout")
        return None

    def expires_at(self, action: str, situation: Situation) -> datetime:
        """Until when the answer may be acted on: at most the decision's validity, and before
        the action's own end and the next quiet hours."""
        latest = situation.now + self._valid
        last, quiet = self._ends.get(action, _NO_END)
        if last is not None:
            latest = min(latest, last)
        for window in quiet:
            latest = quiet_from(window, situation.now, local=situation.local, until=latest)
        return latest


_End = tuple[datetime | None, list[QuietWindow]]
_NO_END: _End = (None, [])


def _end(spec: ActionSpec, rules: GuardrailRules) -> _End:
    """The action's last moment, and the quiet hours that concern it."""
    if spec.action == NONE:
        return _NO_END
    last = None if spec.valid_until is None else as_utc(spec.valid_until)
    return last, [QuietWindow(hours) for hours in rules.quiet_hours if concerns(hours, spec)]


_NOBODY = Profile()


def _zone(name: str, *, path: str) -> ZoneInfo:
    zone = open_zone(name)
    if zone is None:
        raise BadRequestError(
            f"{name!r} is no time zone; expected an IANA name, e.g. 'Europe/Paris'", path=path
        )
    return zone
