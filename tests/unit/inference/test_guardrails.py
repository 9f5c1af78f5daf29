"""No guardrail is ever violated: every rule by example, all of them against an independent oracle.

The oracle here is written from the issue's words, without the code's own functions, and walks the
customer's clock minute by minute where the code computes.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inference.errors import BadRequestError
from inference.guardrail_rules import ActionSpec, GuardrailRules, QuietHours
from inference.guardrails import Guardrails
from inference.profiles import Profile
from inference.quiet_hours import QuietWindow, quiet_from

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ZONES = ("UTC", "Europe/Paris", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
PERIODS = {"hour": 3600, "day": 86_400, "week": 604_800}


def check(
    actions: list[dict[str, Any]],
    *,
    rules: dict[str, Any] | None = None,
    profile: dict[str, Any] | None = None,
    context: dict[str, Any] | None = None,
    now: datetime = NOON,
    zone: str | None = None,
    held_out: bool = False,
    is_known: bool = True,
) -> tuple[list[str], dict[str, tuple[str, str]]]:
    """Names of the eligible, and rule and detail of the others."""
    specs = [msgspec.convert(action, ActionSpec) for action in [*actions, {"action": "none"}]]
    guardrails = Guardrails(specs, msgspec.convert(rules or {}, GuardrailRules))
    known = msgspec.convert(profile or {}, Profile) if is_known else None
    situation = guardrails.situation(known, context=context or {}, now=now, time_zone=zone)
    eligible, excluded = guardrails.check(range(len(specs)), situation, is_held_out=held_out)
    reasons = {found.action: (found.rule, found.detail) for found in excluded}
    return [specs[index].action for index in eligible], reasons


def rule_of(action: dict[str, Any], **given: Any) -> str | None:
    """The rule that excludes a single action, None where it is eligible."""
    eligible, reasons = check([{"action": "a", **action}], **given)
    assert "none" in eligible
    assert ("a" in eligible) == ("a" not in reasons)
    return reasons["a"][0] if reasons else None


CONSENTS: list[tuple[Any, str | None, bool]] = [
    ({}, None, False),
    ({"email": True}, None, True),
    ({"email": True}, "news", True),
    ({"email": False}, None, False),
    ({"sms": True}, None, False),
    ({"email": {"news": True}}, "news", True),
    ({"email": {"news": True}}, "offers", False),
    ({"email": {"news": True}}, None, False),
    ({"email": {"news": False}}, "news", False),
]


@pytest.mark.parametrize(("consents", "purpose", "is_eligible"), CONSENTS)
def test_consent_is_per_channel_and_purpose(
    consents: dict[str, Any], purpose: str | None, is_eligible: bool
) -> None:
    action = {"channel": "email", "purpose": purpose}
    found = rule_of(action, profile={"consents": consents})
    assert found == (None if is_eligible else "consent")


def test_an_action_without_a_channel_needs_no_consent() -> None:
    assert rule_of({}) is None


CONDITIONS: list[tuple[dict[str, Any], Any, bool]] = [
    ({"one_of": ["gold", "silver"]}, "gold", True),
    ({"one_of": ["gold"]}, "bronze", False),
    ({"one_of": ["7"]}, 7, True),
    ({"none_of": [True]}, True, False),
    ({"none_of": ["x"]}, "y", True),
    ({"minimum": 3}, 3, True),
    ({"minimum": 3}, 2.9, False),
    ({"maximum": 3}, 3, True),
    ({"maximum": 3}, 4, False),
    ({"minimum": 1, "maximum": 2}, 1.5, True),
    ({"minimum": 1}, "many", False),
    ({"minimum": 1}, None, False),
]


@pytest.mark.parametrize(("condition", "value", "is_eligible"), CONDITIONS)
def test_conditions_on_attributes(condition: dict[str, Any], value: Any, is_eligible: bool) -> None:
    action = {"conditions": [{"attribute": "tier", **condition}]}
    expected = None if is_eligible else "eligibility"
    assert rule_of(action, profile={"attributes": {"tier": value}}) == expected
    assert rule_of(action, context={"tier": value}) == expected


def test_the_profile_s_attribute_counts_before_the_context_s() -> None:
    action = {"conditions": [{"attribute": "tier", "one_of": ["gold"]}]}
    given = {"profile": {"attributes": {"tier": "bronze"}}, "context": {"tier": "gold"}}
    assert rule_of(action, **given) == "eligibility"


def test_validity_includes_its_first_moment_and_not_its_last() -> None:
    action = {"valid_from": "2026-03-02T12:00:00Z", "valid_until": "2026-03-02T13:00:00+00:00"}
    moments = {-1: "validity", 0: None, 59: None, 60: "validity"}
    for minutes, rule in moments.items():
        assert rule_of(action, now=NOON + timedelta(minutes=minutes)) == rule


@pytest.mark.parametrize(
    ("start", "end", "clock", "is_quiet"),
    [
        ("21:00", "08:00", "20:59", False),
        ("21:00", "08:00", "21:00", True),
        ("21:00", "08:00", "03:00", True),
        ("21:00", "08:00", "07:59", True),
        ("21:00", "08:00", "08:00", False),
        ("12:00", "14:00", "13:59", True),
        ("12:00", "14:00", "14:00", False),
    ],
)
def test_quiet_hours_are_on_the_customer_s_clock(
    start: str, end: str, clock: str, is_quiet: bool
) -> None:
    local = datetime(2026, 3, 2, int(clock[:2]), int(clock[3:]), tzinfo=ZoneInfo("Asia/Kathmandu"))
    rules = {"quiet_hours": [{"start": start, "end": end}]}
    given = {"rules": rules, "now": local.astimezone(UTC)}
    expected = "quiet_hours" if is_quiet else None
    assert rule_of({}, **given, zone="Asia/Kathmandu") == expected
    assert rule_of({}, **given, profile={"time_zone": "Asia/Kathmandu"}) == expected
    by_default = {**rules, "default_time_zone": "Asia/Kathmandu"}
    assert rule_of({}, rules=by_default, now=local.astimezone(UTC)) == expected


def test_quiet_hours_of_a_channel_leave_the_others_alone() -> None:
    rules = {"quiet_hours": [{"start": "00:00", "end": "23:59", "channels": ["sms"]}]}
    profile = {"consents": {"sms": True, "email": True}}
    assert rule_of({"channel": "sms"}, rules=rules, profile=profile) == "quiet_hours"
    assert rule_of({"channel": "email"}, rules=rules, profile=profile) is None


@pytest.mark.parametrize("name", ["Europe", "Mars/Base", "../etc/passwd", "europe/nowhere", "\0"])
def test_a_zone_that_is_none_is_a_bad_request(name: str) -> None:
    with pytest.raises(BadRequestError, match="no time zone") as caught:
        check([], zone=name)
    assert caught.value.path == "$.time_zone"
    with pytest.raises(BadRequestError) as caught:
        check([], profile={"time_zone": name})
    assert caught.value.path == "$.profile.time_zone"


def contact(action: str, minutes_ago: float, **more: Any) -> dict[str, Any]:
    return {"action": action, "at": (NOON - timedelta(minutes=minutes_ago)).isoformat(), **more}


CAPS: list[tuple[dict[str, Any], list[dict[str, Any]], bool]] = [
    ({"scope": "global", "period": "day"}, [contact("b", 60)], True),
    ({"scope": "global", "period": "hour"}, [contact("b", 60)], False),
    ({"scope": "global", "period": "hour"}, [contact("b", 59.9)], True),
    ({"scope": "global", "period": "hour"}, [contact("none", 1)], False),
    ({"scope": "global", "period": "hour"}, [contact("b", -30)], True),
    ({"scope": "action", "period": "week"}, [contact("b", 60)], False),
    ({"scope": "action", "period": "week"}, [contact("a", 10_000)], True),
    ({"scope": "action", "period": "week"}, [contact("a", 10_080)], False),
    ({"scope": "action", "period": "day", "name": "b"}, [contact("a", 1)], False),
    ({"scope": "channel", "period": "day"}, [contact("b", 1)], True),
    ({"scope": "channel", "period": "day"}, [contact("b", 1, channel="sms")], False),
    ({"scope": "channel", "period": "day"}, [contact("gone", 1, channel="email")], True),
    ({"scope": "channel", "period": "day", "name": "sms"}, [contact("b", 1)], False),
]


@pytest.mark.parametrize(("cap", "contacts", "is_capped"), CAPS)
def test_caps_count_per_action_per_channel_and_globally(
    cap: dict[str, Any], contacts: list[dict[str, Any]], is_capped: bool
) -> None:
    actions = [{"action": name, "channel": "email"} for name in ("a", "b")]
    profile = {"consents": {"email": True}, "contacts": contacts}
    _, reasons = check(actions, rules={"caps": [{"limit": 1, **cap}]}, profile=profile)
    assert ("a" in reasons) == is_capped
    if is_capped:
        assert reasons["a"][0] == "frequency_cap"
        assert "at most 1" in reasons["a"][1]


def test_cooldown_after_a_conversion_of_this_action_or_of_any() -> None:
    action = {"cooldown_days": 2}
    at = {"at": (NOON - timedelta(days=1, hours=23)).isoformat()}
    old = {"at": (NOON - timedelta(days=2)).isoformat()}
    for conversion, rule in (
        (at, "cooldown"),
        ({**at, "action": "a"}, "cooldown"),
        ({**at, "action": "b"}, None),
        (old, None),
    ):
        assert rule_of(action, profile={"conversions": [conversion]}) == rule


def test_the_holdout_excludes_everything_but_none() -> None:
    eligible, reasons = check([{"action": "a"}, {"action": "b"}], held_out=True)
    assert eligible == ["none"]
    assert {rule for rule, _ in reasons.values()} == {"holdout"}


def test_the_first_rule_in_order_is_the_reason() -> None:
    """Everything is against the action; lift the rules one by one."""
    action: dict[str, Any] = {
        "channel": "email",
        "conditions": [{"attribute": "tier", "one_of": ["gold"]}],
        "valid_until": "2026-03-01T00:00:00Z",
        "cooldown_days": 30,
    }
    rules: dict[str, Any] = {
        "quiet_hours": [{"start": "11:00", "end": "13:00"}],
        "caps": [{"scope": "global", "limit": 0, "period": "day"}],
    }
    profile: dict[str, Any] = {"conversions": [{"at": NOON.isoformat()}]}
    found = []
    lifts = [
        lambda: profile.update(consents={"email": True}),
        lambda: profile.update(attributes={"tier": "gold"}),
        lambda: action.pop("valid_until"),
        lambda: rules.pop("quiet_hours"),
        lambda: rules.pop("caps"),
        lambda: action.pop("cooldown_days"),
    ]
    for lift in lifts:
        found.append(rule_of(action, rules=rules, profile=profile, held_out=True))
        lift()
    found.append(rule_of(action, rules=rules, profile=profile, held_out=True))
    order = ["consent", "eligibility", "validity", "quiet_hours", "frequency_cap", "cooldown"]
    assert found == [*order, "holdout"]


@pytest.mark.parametrize(
    ("action", "rules"),
    [
        ({"channel": "email"}, {}),
        ({"cooldown_days": 1}, {}),
        ({}, {"caps": [{"scope": "global", "limit": 9, "period": "day"}]}),
    ],
)
def test_what_a_silent_store_could_forbid_is_excluded(
    action: dict[str, Any], rules: dict[str, Any]
) -> None:
    eligible, reasons = check([{"action": "a", **action}], rules=rules, is_known=False)
    assert eligible == ["none"]
    assert "the profile store did not answer" in reasons["a"][1]


# --- properties, against an oracle -----------------------------------------------------------

clocks = st.tuples(st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 59])).map(
    lambda t: f"{t[0]:02}:{t[1]:02}"
)
quiet_hours = st.tuples(clocks, clocks).filter(lambda t: t[0] != t[1])
# Around the four changes of 2026 in the zones here, and anywhere in the year.
CHANGES = [
    datetime(2026, 3, 8, 7, tzinfo=UTC),
    datetime(2026, 3, 29, 1, tzinfo=UTC),
    datetime(2026, 4, 4, 15, tzinfo=UTC),
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),
    datetime(2026, 10, 25, 1, tzinfo=UTC),
    datetime(2026, 11, 1, 6, tzinfo=UTC),
]
moments = st.one_of(
    st.tuples(st.sampled_from(CHANGES), st.integers(-2 * 86_400, 86_400)).map(
        lambda t: t[0] + timedelta(seconds=t[1])
    ),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31)).map(lambda d: d.replace(tzinfo=UTC)),
)


def is_quiet_by_the_clock(quiet: tuple[str, str], moment: datetime, zone: str) -> bool:
    clock = moment.astimezone(ZoneInfo(zone)).strftime("%H:%M")
    start, end = quiet
    return start <= clock < end if start < end else not end <= clock < start


@settings(max_examples=250, deadline=None)
@given(quiet=quiet_hours, now=moments, zone=st.sampled_from(ZONES), minutes=st.integers(1, 2900))
def test_quiet_from_is_the_first_quiet_minute(
    quiet: tuple[str, str], now: datetime, zone: str, minutes: int
) -> None:
    """Walked minute by minute, over the days when the clock moves and all others."""
    assume(not is_quiet_by_the_clock(quiet, now, zone))
    until = now + timedelta(minutes=minutes)
    window = QuietWindow(QuietHours(*quiet))
    found = quiet_from(window, now, local=now.astimezone(ZoneInfo(zone)), until=until)
    minute = now.replace(second=0, microsecond=0) + timedelta(minutes=1)
    while minute < until and not is_quiet_by_the_clock(quiet, minute, zone):
        minute += timedelta(minutes=1)
    assert found == min(minute, until)


channels = st.sampled_from(["email", "sms", "push"])
purposes = st.sampled_from(["news", "offers"])
names = st.sampled_from(["a", "b", "c"])
ages = st.sampled_from([-600, 0, 1, 3599, 3600, 86_399, 86_400, 604_799, 604_800, 10**7])
caps = st.builds(
    lambda scope, limit, period, name: (
        {"scope": scope, "limit": limit, "period": period}
        | ({} if scope == "global" or name is None else {"name": name})
    ),
    st.sampled_from(["action", "channel", "global"]),
    st.integers(0, 3),
    st.sampled_from(list(PERIODS)),
    st.none() | names | channels,
)


@st.composite
def situations(draw: st.DrawFn) -> dict[str, Any]:
    """Actions, rules, a profile, a clock and a zone: anything that can be said of them."""
    now = draw(moments)
    actions: list[dict[str, Any]] = []
    for name in ("a", "b", "c"):
        action: dict[str, Any] = {"action": name, "cooldown_days": draw(st.sampled_from([0, 1, 7]))}
        if draw(st.booleans()):
            action |= {"channel": draw(channels), "purpose": draw(st.none() | purposes)}
        if draw(st.booleans()):
            first = now + timedelta(seconds=draw(st.integers(-3600, 3600)))
            action |= {"valid_from": first, "valid_until": first + timedelta(seconds=1800)}
        if draw(st.booleans()):
            low = draw(st.integers(0, 5))
            action["conditions"] = [{"attribute": "score", "minimum": low, "maximum": low + 2}]
        actions.append(action)
    contacts = draw(st.lists(st.tuples(names, ages, st.none() | channels), max_size=6))
    conversions = draw(st.lists(st.tuples(st.none() | names, ages), max_size=3))
    consent = st.booleans() | st.dictionaries(purposes, st.booleans())
    return {
        "actions": actions,
        "now": now,
        "zone": draw(st.sampled_from(ZONES)),
        "rules": {
            "quiet_hours": [
                {"start": q[0], "end": q[1], "channels": draw(st.lists(channels, max_size=2))}
                for q in draw(st.lists(quiet_hours, max_size=2))
            ],
            "caps": draw(st.lists(caps, max_size=3)),
        },
        "profile": {
            "consents": draw(st.dictionaries(channels, consent)),
            "attributes": draw(st.fixed_dictionaries({}, optional={"score": st.integers(0, 8)})),
            "contacts": [
                {"action": a, "at": now - timedelta(seconds=s), "channel": c}
                for a, s, c in contacts
            ],
            "conversions": [
                {"action": a, "at": now - timedelta(seconds=s)} for a, s in conversions
            ],
        },
        "held_out": draw(st.booleans()),
    }


def may_be_sent(action: dict[str, Any], given: dict[str, Any]) -> bool:
    """The oracle: the issue's words on one action, in no order."""
    now, profile, rules = given["now"], given["profile"], given["rules"]
    channel, channel_of = action.get("channel"), {a["action"]: a for a in given["actions"]}
    consent = profile["consents"].get(channel, False)
    if isinstance(consent, dict):
        consent = consent.get(action.get("purpose"), False)
    is_fine = not given["held_out"] and (channel is None or consent)
    for condition in action.get("conditions", []):
        score = profile["attributes"].get("score", -1)
        is_fine &= condition["minimum"] <= score <= condition["maximum"]
    if "valid_from" in action:
        is_fine &= action["valid_from"] <= now < action["valid_until"]
    for quiet in rules["quiet_hours"]:
        concerned = not quiet["channels"] or channel in quiet["channels"]
        hours = (quiet["start"], quiet["end"])
        is_fine &= not (concerned and is_quiet_by_the_clock(hours, now, given["zone"]))
    for cap in rules["caps"]:
        mine = {"action": action["action"], "channel": channel, "global": "all"}[cap["scope"]]
        if mine is None or ("name" in cap and cap["name"] != mine):
            continue
        seen = [
            {
                "action": c["action"],
                "channel": c["channel"] or channel_of[c["action"]].get("channel"),
                "global": "all",
            }[cap["scope"]]
            for c in profile["contacts"]
            if (now - c["at"]).total_seconds() < PERIODS[cap["period"]]
        ]
        is_fine &= seen.count(mine) < cap["limit"]
    for conversion in profile["conversions"]:
        if conversion["action"] in (None, action["action"]):
            is_fine &= now - conversion["at"] >= timedelta(days=action["cooldown_days"]) or (
                action["cooldown_days"] == 0
            )
    return bool(is_fine)


@settings(max_examples=300, deadline=None)
@given(given_=situations())
def test_eligible_is_exactly_what_the_rules_allow(given_: dict[str, Any]) -> None:
    actions = given_["actions"]
    eligible, reasons = check(**given_)
    expected = [action["action"] for action in actions if may_be_sent(action, given_)]
    assert eligible == [*expected, "none"]
    assert set(reasons) == {action["action"] for action in actions} - set(expected)


@settings(max_examples=200, deadline=None)
@given(given_=situations(), share=st.floats(0, 1, exclude_max=True))
def test_an_answer_acted_on_before_it_expires_is_still_allowed(
    given_: dict[str, Any], share: float
) -> None:
    """By the clock, that is: quiet hours and validity at any moment up to the expiry."""
    specs = [msgspec.convert(action, ActionSpec) for action in given_["actions"]]
    rules = {**given_["rules"], "decision_valid_minutes": 2000}
    guardrails = Guardrails(specs, msgspec.convert(rules, GuardrailRules))
    situation = guardrails.situation(
        msgspec.convert(given_["profile"], Profile),
        context={},
        now=given_["now"],
        time_zone=given_["zone"],
    )
    eligible, _ = guardrails.check(range(len(specs)), situation, is_held_out=False)
    for index in eligible:
        action = given_["actions"][index]
        expires_at = guardrails.expires_at(action["action"], situation)
        assert expires_at > given_["now"]
        # A share next to one is rounded to the whole span: that moment would be the expiry itself.
        last = expires_at - timedelta(microseconds=1)
        moment = min(given_["now"] + share * (expires_at - given_["now"]), last)
        by_clock = {**given_, "now": moment, "held_out": False}
        by_clock["rules"] = {"quiet_hours": rules["quiet_hours"], "caps": []}
        by_clock["profile"] = {**given_["profile"], "contacts": [], "conversions": []}
        assert may_be_sent(action, by_clock)
