"""Which actions a policy may draw from: rules applied before the draw, so that propensities are
over the eligible set. Runs in a Lambda.

In this order, and an excluded action carries the first that excluded it: consent, eligibility,
validity, quiet hours, frequency caps, cool-down after a conversion, global holdout. What is not
known excludes: no consent on record is no consent. `none` is always eligible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import msgspec

from inference.errors import BadRequestError
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
    open_zone,
)
from inference.profiles import Profile

RULES = ("consent", "eligibility", "validity", "quiet_hours", "frequency_cap", "cooldown")
HOLDOUT = "holdout"
MINUTES_PER_DAY = 1440
_UNAVAILABLE = "not known: the profile store did not answer"
_PERIODS = {name: timedelta(seconds=seconds) for name, seconds in PERIOD_SECONDS.items()}
_PERIOD_NAMES = {"hour": "hour", "day": "24 hours", "week": "7 days"}


class Exclusion(msgspec.Struct, frozen=True):
    """An action that could not be drawn: the first rule against it, and the fact in words."""

    action: str
    rule: str
    detail: str


def minute_of_day(clock: str) -> int:
    """`21:30` → 1290."""
    return int(clock[:2]) * 60 + int(clock[3:])


class QuietWindow:
    """Quiet hours as minutes of the local day."""

    def __init__(self, hours: QuietHours) -> None:
        self.start, self.end = minute_of_day(hours.start), minute_of_day(hours.end)

    def holds(self, minute: int) -> bool:
        """Whether that minute of the local day is quiet."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


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
                contact.at if contact.at.tzinfo else as_utc(contact.at),
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


class Guardrails:
    """The rules of a policy's actions, compiled; `check` is pure."""

    def __init__(self, actions: Sequence[ActionSpec], rules: GuardrailRules) -> None:
        self.rules = rules
        self._names = [spec.action for spec in actions]
        self._channel_of = {spec.action: spec.channel for spec in actions}
        shared = _Shared(rules)
        self._checks = [_checks(spec, rules, shared) for spec in actions]
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
    return last, [QuietWindow(hours) for hours in rules.quiet_hours if _concerns(hours, spec)]


_NOBODY = Profile()


def _zone(name: str, *, path: str) -> ZoneInfo:
    zone = open_zone(name)
    if zone is None:
        raise BadRequestError(
            f"{name!r} is no time zone; expected an IANA name, e.g. 'Europe/Paris'", path=path
        )
    return zone


class _Shared:
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


def _checks(spec: ActionSpec, rules: GuardrailRules, shared: _Shared) -> list[tuple[str, Check]]:
    """The checks an action needs, in the order of `RULES`; none for `none`."""
    if spec.action == NONE:
        return []
    checks: list[tuple[str, Check]] = []
    if spec.channel is not None:
        checks.append(("consent", shared.consent(spec.channel, spec.purpose)))
    checks += [("eligibility", _eligibility(condition)) for condition in spec.conditions]
    if spec.valid_from is not None or spec.valid_until is not None:
        checks.append(("validity", _validity(spec)))
    checks += [("quiet_hours", check) for hours, check in shared.quiet if _concerns(hours, spec)]
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
        minute = _minute(situation.local)
        if not window.holds(minute):
            return None
        clock = f"{minute // 60:02}:{minute % 60:02}"
        return f"{clock} in {situation.zone.key}; quiet from {hours.start} to {hours.end}"

    return check


def _concerns(hours: QuietHours, spec: ActionSpec) -> bool:
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
            if mine and situation.now - as_utc(conversion.at) < period:
                at = as_utc(conversion.at).isoformat()
                return f"converted at {at}; cool-down of {spec.cooldown_days:g} days"
        return None

    return check


def quiet_from(window: QuietWindow, now: datetime, *, local: datetime, until: datetime) -> datetime:
    """When quiet hours next begin after `now`, which is `local` on the customer's clock.

    `until` where they do not begin before it. They begin at their start, or where the clock is
    moved into them: on such a day a local time happens twice or never. `until` is at most some
    days away: one move of the clock in between.
    """
    zone = local.tzinfo
    if until.astimezone(zone).utcoffset() == local.utcoffset():
        minutes = (window.start - _minute(local)) % MINUTES_PER_DAY
        begins = timedelta(0, 60 * minutes - local.second, -local.microsecond)
        return min(until, now + begins)
    moments = [clock_change(local, until)]
    for days in (0, 1, 2):
        day = local.date() + timedelta(days=days)
        wall = datetime(day.year, day.month, day.day, window.start // 60, window.start % 60)
        moments += [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    after = [moment for moment in moments if now < moment < until]
    return min((m for m in after if window.holds(_minute(m.astimezone(zone)))), default=until)


def clock_change(local: datetime, last: datetime) -> datetime:
    """The first second in (local, last] with another offset than `local`; `last` without one."""
    zone, before = local.tzinfo, local.utcoffset()
    if last.astimezone(zone).utcoffset() == before:
        return last
    low, high = int(local.timestamp()), int(last.timestamp()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)


def _minute(local: datetime) -> int:
    """Minutes since midnight on that clock."""
    return local.hour * 60 + local.minute
