"""The checks a guardrail makes of one decision's facts, compiled from an action's rules.

A check says why the action may not be drawn, in words, or None. Runs in a Lambda; used by
`inference/guardrails.py` only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

from inference.features import Context, as_text
from inference.guardrail_rules import (
    NONE,
    PERIOD_SECONDS,
    ActionSpec,
    Condition,
    FrequencyCap,
    GuardrailRules,
    QuietHours,
    as_utc,
    aware,
)
from inference.profiles import Profile
from inference.quiet_hours import QuietWindow, minute_of

_UNAVAILABLE = "not known: the profile store did not answer"
_PERIODS = {name: timedelta(seconds=seconds) for name, seconds in PERIOD_SECONDS.items()}
_PERIOD_NAMES = {"hour": "hour", "day": "24 hours", "week": "7 days"}
Check = Callable[["Situation"], str | None]


class Situation:
    """One decision's facts. `is_known` is False where the profile store did not answer.

    What several actions ask is worked out once: `findings` of checks, `counts` of caps.
    """

    def __init__(
        self,
        profile: Profile,
        *,
        context: Context,
        now: datetime,
        zone: ZoneInfo,
        channel_of: Mapping[str, str | None],
        is_known: bool,
    ) -> None:
        self.profile = profile
        self.context = context
        self.now = now
        self.zone = zone
        self.channel_of = channel_of
        self.is_known = is_known
        self.findings: dict[Check, str | None] = {}
        self.counts: dict[int, dict[str, int]] = {}

    @cached_property
    def local(self) -> datetime:
        """The customer's clock."""
        return self.now.astimezone(self.zone)

    @cached_property
    def contacts(self) -> list[tuple[datetime, str, str | None]]:
        """When each contact was (or is planned), its action and channel."""
        channel_of = self.channel_of
        return [
            (
                aware(contact.at),
                contact.action,
                contact.channel or channel_of.get(contact.action),
            )
            for contact in self.profile.contacts
            if contact.action != NONE
        ]

    def count(self, number: int, cap: FrequencyCap, key: str) -> int:
        """Contacts that cap `number` counts under that key; worked out for all keys at once."""
        counts = self.counts.get(number)
        if counts is None:
            counts = self.counts[number] = {}
            since, scope = self.now - _PERIODS[cap.period], cap.scope
            for at, action, channel in self.contacts:
                counted = "" if scope == "global" else action if scope == "action" else channel
                if counted is not None and at > since:
                    counts[counted] = counts.get(counted, 0) + 1
        return counts.get(key, 0)


class SharedChecks:
    """Checks that several actions have in common: the same object, asked once a decision."""

    def __init__(self, rules: GuardrailRules) -> None:
        self.quiet = [(hours, _quiet(hours)) for hours in rules.quiet_hours]
        self._consents: dict[tuple[str, str | None], Check] = {}
        self._caps: dict[tuple[int, str], Check] = {}

    def consent(self, channel: str, purpose: str | None) -> Check:
        key = (channel, purpose)
        return self._consents.setdefault(key, _consent(channel, purpose))

    def capped(self, number: int, cap: FrequencyCap, key: str) -> Check:
        return self._caps.setdefault((number, key), _capped(number, cap, key))


def checks_of(
    spec: ActionSpec, rules: GuardrailRules, shared: SharedChecks
) -> list[tuple[str, Check]]:
    """The checks an action needs, each with its rule's name; none for `none`."""
    if spec.action == NONE:
        return []
    checks: list[tuple[str, Check]] = []
    if spec.channel is not None:
        checks.append(("consent", shared.consent(spec.channel, spec.purpose)))
    checks += [("eligibility", _eligibility(condition)) for condition in spec.conditions]
    if spec.valid_from is not None or spec.valid_until is not None:
        checks.append(("validity", _validity(spec)))
    checks += [("quiet_hours", check) for hours, check in shared.quiet if concerns(hours, spec)]
    for number, cap in enumerate(rules.caps):
        key = _cap_key(cap, spec.action, spec.channel)
        if key is not None:
            checks.append(("frequency_cap", shared.capped(number, cap, key)))
    if spec.cooldown_days > 0:
        checks.append(("cooldown", _cooldown(spec)))
    return checks


def _consent(channel: str, purpose: str | None) -> Check:
    wanted = channel if purpose is None else f"{channel} for {purpose}"

    def check(situation: Situation) -> str | None:
        given = situation.profile.consents.get(channel)
        if given is True or (isinstance(given, dict) and given.get(purpose or "") is True):
            return None
        return f"no consent to {wanted}" if situation.is_known else f"consent is {_UNAVAILABLE}"

    return check


def _eligibility(condition: Condition) -> Check:
    def check(situation: Situation) -> str | None:
        name = condition.attribute
        value = situation.profile.attributes.get(name)
        if value is None:
            value = situation.context.get(name)
        if value is None:
            return f"{name} is not known"
        return None if _holds(condition, value) else f"{name} is {value!r}"

    return check


def _holds(condition: Condition, value: str | int | float | bool) -> bool:
    text = as_text(value)
    if condition.one_of is not None and text not in [as_text(v) for v in condition.one_of]:
        return False
    if condition.none_of is not None and text in [as_text(v) for v in condition.none_of]:
        return False
    if condition.minimum is None and condition.maximum is None:
        return True
    if isinstance(value, str):
        return False
    above = condition.minimum is None or value >= condition.minimum
    return above and (condition.maximum is None or value <= condition.maximum)


def _validity(spec: ActionSpec) -> Check:
    first = None if spec.valid_from is None else as_utc(spec.valid_from)
    last = None if spec.valid_until is None else as_utc(spec.valid_until)

    def check(situation: Situation) -> str | None:
        if first is not None and situation.now < first:
            return f"valid from {first.isoformat()}"
        if last is not None and situation.now >= last:
            return f"valid until {last.isoformat()}"
        return None

    return check


def _quiet(hours: QuietHours) -> Check:
    window = QuietWindow(hours)

    def check(situation: Situation) -> str | None:
        minute = minute_of(situation.local)
        if not window.holds(minute):
            return None
        clock = f"{minute // 60:02}:{minute % 60:02}"
        return f"{clock} in {situation.zone.key}; quiet from {hours.start} to {hours.end}"

    return check


def concerns(hours: QuietHours, spec: ActionSpec) -> bool:
    return not hours.channels or spec.channel in hours.channels


def _cap_key(cap: FrequencyCap, action: str, channel: str | None) -> str | None:
    """What the cap counts this action or contact under; None where it does not."""
    if cap.scope == "global":
        return ""
    key = action if cap.scope == "action" else channel
    return key if cap.name is None or cap.name == key else None


def _capped(number: int, cap: FrequencyCap, key: str) -> Check:
    of = {"action": f"of {key}", "channel": f"by {key}", "global": "in all"}[cap.scope]
    period = _PERIOD_NAMES[cap.period]

    def check(situation: Situation) -> str | None:
        if not situation.is_known:
            return f"contacts are {_UNAVAILABLE}"
        count = situation.count(number, cap, key)
        if count < cap.limit:
            return None
        return f"{count} contacts {of} in the last {period}; at most {cap.limit}"

    return check


def _cooldown(spec: ActionSpec) -> Check:
    period = timedelta(days=spec.cooldown_days)

    def check(situation: Situation) -> str | None:
        if not situation.is_known:
            return f"conversions are {_UNAVAILABLE}"
        for conversion in situation.profile.conversions:
            mine = conversion.action in (None, spec.action)
            if mine and situation.now - aware(conversion.at) < period:
                at = as_utc(conversion.at).isoformat()
                return f"converted at {at}; cool-down of {spec.cooldown_days:g} days"
        return None

    return check
