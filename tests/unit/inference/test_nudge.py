"""A decision end to end in one process: eligible set, propensities, audit, idempotency."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.apprentice import Apprentice, Comparison, ComparisonFailure
from inference.customer_events import merged
from inference.decision_memory import DecisionMemory
from inference.errors import BadRequestError
from inference.event_contracts import Erasure
from inference.nudge import Nudge
from inference.nudge_contracts import NudgeResponse, decode_nudge_request
from inference.nudge_service import NudgeService, print_line
from inference.policy import draw
from inference.profiles import Change, InMemoryProfiles, Profile, ProfileStoreError, Stored, changed
from tests.unit.inference import small_policy
from tests.unit.inference.small_policy import NOW, PROFILE
from tests.unit.inference.test_guardrails import may_be_sent, situations

CONTEXT = {"age": 50, "spend": 7.0, "device": "web"}
ASK = {"customer_id": "c-1", "context": CONTEXT, "profile": PROFILE}


def service(**serving: Any) -> NudgeService:
    """A service of the small policy."""
    nudge = Nudge(small_policy.policy(**serving), tenant="acme")
    return NudgeService(nudge, run="run-1", version="7")


def watched(apprentice: dict[str, Any], *, log: Callable[[Any], None]) -> NudgeService:
    """The small policy with an apprentice beside it, whose comparisons go to `log`."""
    other = Apprentice(Nudge(small_policy.policy(**apprentice), tenant="acme"), run="run-2")

    def only_comparisons(record: Any) -> None:
        if not isinstance(record, NudgeResponse):
            log(record)

    return dataclasses.replace(service(), apprentice=other, log=only_comparisons)


def ask(nudge: NudgeService, request: dict[str, Any] = ASK, **more: Any) -> NudgeResponse:
    found = decode_nudge_request({**request, **more})
    return nudge.respond(found, now=NOW, decision_id="decision-1")


def test_a_decision_names_itself_its_policy_and_its_chances() -> None:
    found = ask(service())
    assert (found.decision_id, found.model_version, found.run) == ("decision-1", "7", "run-1")
    assert list(found.propensities) == ["mail", "banner", "none"]
    assert math.fsum(found.propensities.values()) == pytest.approx(1.0)
    assert found.propensity == found.propensities[found.action]
    assert found.values["mail"] == pytest.approx(0.9, abs=1e-6)
    assert found.expires_at == NOW + timedelta(hours=1)
    assert (found.unknown_context, found.missing_context) == ([], [])
    assert not found.degraded


def test_propensities_are_over_the_eligible_set() -> None:
    """Without consent the mail is gone before the draw, and the others' chances are whole."""
    found = ask(service(), profile={})
    assert list(found.propensities) == ["banner", "none"]
    assert math.fsum(found.propensities.values()) == pytest.approx(1.0)
    assert [(e.action, e.rule) for e in found.excluded] == [("mail", "consent")]


def test_candidates_are_the_caller_s_and_none() -> None:
    found = ask(service(), actions=["banner", "cake", "banner"])
    assert list(found.propensities) == ["banner", "none"]
    assert [(e.action, e.rule) for e in found.excluded] == [("cake", "unknown_action")]
    assert list(ask(service(), actions=[]).propensities) == ["none"]


def test_none_remains_even_for_a_policy_that_does_not_know_it() -> None:
    actions = [{"action": name, "channel": "email"} for name in ("a", "b", "c")]
    found = ask(service(actions=actions), profile={})
    assert (found.action, found.propensity, found.propensities) == ("none", 1.0, {"none": 1.0})
    assert len(found.excluded) == 3


def test_the_holdout_always_gets_none_and_is_marked() -> None:
    held = service(guardrails={"holdout_share": 1.0})
    found = ask(held)
    assert (found.action, found.propensity, found.holdout) == ("none", 1.0, True)
    assert {e.rule for e in found.excluded} == {"holdout"}


def test_the_holdout_is_a_share_of_customers_stable_and_salted() -> None:
    def held(**rules: Any) -> list[str]:
        nudge = service(guardrails={"holdout_share": 0.1, **rules}).nudge
        return [name for n in range(5000) if nudge.is_held_out(name := f"c-{n}")]

    assert 430 < len(held()) < 570
    assert held() == held()
    assert held() != held(holdout_salt="another")


def test_a_context_the_model_does_not_know_is_named() -> None:
    found = ask(service(), context={"age": 30, "moon": "full", "spend": None})
    assert found.unknown_context == ["moon"]
    assert found.missing_context == ["spend", "device"]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no customer": ({"customer_id": None}, "$.customer_id"),
    "empty customer": ({"customer_id": ""}, "$.customer_id"),
    "text for a number": ({"context": {"age": "old"}}, "$.context.age"),
    "list in the context": ({"context": {"age": [1]}}, "$.context[...]"),
    "no number": ({"context": {"age": math.nan}}, "$.context.age"),
    "no number in a category": ({"context": {"device": math.inf}}, "$.context.device"),
    "no number in the profile": (
        {"profile": {"attributes": {"age": math.nan}}},
        "$.profile.attributes.age",
    ),
    "huge number": ({"context": {"age": 10**400}}, "$.context.age"),
    "zone": ({"time_zone": "Mars"}, "$.time_zone"),
    "profile's zone": ({"profile": {"time_zone": "Mars"}}, "$.profile.time_zone"),
    "consent": ({"profile": {"consents": {"email": "yes"}}}, "$.profile.consents[...]"),
    "contact": ({"profile": {"contacts": [{"action": "a"}]}}, "$.profile.contacts[0]"),
    "time": ({"now": "noon"}, "$.now"),
    "typo": ({"contxt": {}}, "$"),
    "key": ({"decision_key": ""}, "$.decision_key"),
}


@pytest.mark.parametrize(("change", "path"), BAD.values(), ids=BAD)
def test_a_bad_request_is_an_answer_with_its_path(change: dict[str, Any], path: str) -> None:
    found = service().answer({**ASK, **change}, now=NOW, decision_id="d")
    assert found["error"]["status"] == 400
    assert found["error"]["path"] == path


@pytest.mark.parametrize("garbage", [b"", b"{", None, [], "x", b"\xff", 7])
def test_garbage_is_a_bad_request(garbage: Any) -> None:
    found = service().answer(garbage, now=NOW, decision_id="d")
    assert found["error"]["code"] == "BadRequestError"


@settings(max_examples=100, deadline=None)
@given(
    value=st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    name=st.sampled_from(["age", "spend", "device", "other"]),
)
def test_any_context_is_decided_or_refused(value: Any, name: str) -> None:
    found = service().answer({**ASK, "context": {name: value}}, now=NOW, decision_id="d")
    if "error" in found:
        text_for_a_number = (name, type(value)) in [("age", str), ("spend", str)]
        assert text_for_a_number or not math.isfinite(value)
    else:
        assert math.fsum(found["propensities"].values()) == pytest.approx(1.0)


anytime = st.datetimes(timezones=st.none() | st.timezones())


@settings(max_examples=150, deadline=None)
@given(now=anytime, contact=anytime, conversion=anytime, zone=st.timezones().map(str))
def test_any_time_is_decided_for_or_refused(
    now: datetime, contact: datetime, conversion: datetime, zone: str
) -> None:
    """From the first year to the last, in every zone there is."""
    actions = [{"action": "a", "cooldown_days": 3650}, {"action": "none"}]
    rules = {
        "quiet_hours": [{"start": "21:00", "end": "08:00"}],
        "caps": [{"scope": "action", "limit": 1, "period": "week"}],
        "decision_valid_minutes": 10_080,
    }
    coefficients = [[1.0], [0.0]]
    asked = service(actions=actions, features=[], guardrails=rules, coefficients=coefficients)
    profile = {
        "contacts": [{"action": "a", "at": contact}],
        "conversions": [{"at": conversion}],
    }
    body = {"customer_id": "c", "now": now, "profile": profile, "time_zone": zone}
    found = asked.answer(body, now=NOW, decision_id="d")
    assert found["error"]["path"] in ("$.now", "$.time_zone") if "error" in found else True
    if 1970 < now.year < 9000 and "error" in found:
        assert found["error"]["path"] == "$.time_zone"


def test_an_auditor_rederives_every_draw_from_the_record() -> None:
    """From the answer as JSON, the decision's id and the policy's salt; no model needed."""
    asked = service(guardrails={"holdout_share": 0.2})
    request = decode_nudge_request(ASK)
    for number in range(300):
        moved = msgspec.structs.replace(request, customer_id=f"c-{number}")
        answer = asked.respond(moved, now=NOW, decision_id=f"{number:032x}")
        record = json.loads(msgspec.json.encode(answer))
        names = list(record["propensities"])
        chances = list(record["propensities"].values())
        drawn = draw(chances, decision_id=record["decision_id"], salt="salt-1")
        assert names[drawn] == record["action"]
        assert chances[drawn] == record["propensity"]


def test_frequencies_match_the_propensities_answered() -> None:
    asked, request = service(), decode_nudge_request(ASK)
    answers = [asked.respond(request, now=NOW, decision_id=str(n)) for n in range(6000)]
    chances = answers[0].propensities
    for action, chance in chances.items():
        seen = np.mean([answer.action == action for answer in answers])
        assert abs(seen - chance) < 4 * math.sqrt(chance * (1 - chance) / 6000)


@settings(max_examples=150, deadline=None)
@given(given_=situations(), number=st.integers(0, 10**9))
def test_what_is_drawn_violates_no_guardrail(given_: dict[str, Any], number: int) -> None:
    """From JSON to JSON, whatever the profile, the clock and the zone."""
    actions = [*given_["actions"], {"action": "none"}]
    asked = service(
        actions=actions,
        features=[],
        guardrails={**given_["rules"], "holdout_share": float(given_["held_out"])},
        coefficients=[[0.1 * n] for n in range(4)],
        exploration_floor=0.5,
    )
    body = {
        "customer_id": "c-1",
        "profile": given_["profile"],
        "time_zone": given_["zone"],
        "now": given_["now"],
    }
    request = msgspec.json.encode(body)
    answer = asked.answer(request, now=NOW, decision_id=str(number))
    allowed = {a["action"] for a in given_["actions"] if may_be_sent(a, given_)} | {"none"}
    assert answer["action"] in allowed
    assert set(answer["propensities"]) == allowed
    assert math.fsum(answer["propensities"].values()) == pytest.approx(1.0)
    assert answer["holdout"] == given_["held_out"]


# --- idempotency ------------------------------------------------------------------------------


def test_the_same_key_gets_the_same_answer_whatever_happened_meanwhile() -> None:
    asked = service(guardrails={"caps": [{"scope": "global", "limit": 1, "period": "week"}]})
    request = decode_nudge_request({"customer_id": "c-1", "decision_key": "order-7"})
    first = asked.respond(request, now=NOW, decision_id="x")
    later = asked.respond(request, now=NOW + timedelta(minutes=5), decision_id="y")
    assert first == later
    assert first.decision_id not in ("x", "y")


def test_another_process_draws_the_same_under_the_same_key() -> None:
    keys = [f"key-{n}" for n in range(50)]
    first, second = service(), service()
    for key in keys:
        assert ask(first, decision_key=key) == ask(second, decision_key=key)
    assert len({ask(first, decision_key=key).action for key in keys}) > 1


def test_a_key_is_a_customer_s_own() -> None:
    asked = service()
    one = ask(asked, decision_key="k")
    other = ask(asked, decision_key="k", customer_id="c-2")
    assert one.decision_id != other.decision_id


def test_a_key_used_for_another_question_is_refused() -> None:
    asked = service()
    ask(asked, decision_key="k")
    with pytest.raises(BadRequestError, match="was used for another request") as caught:
        ask(asked, decision_key="k", context={"age": 1})
    assert caught.value.path == "$.decision_key"


def test_the_memory_is_bounded() -> None:
    memory, request = DecisionMemory(capacity=2), decode_nudge_request(ASK)
    for number in range(3):
        found = service().respond(request, now=NOW, decision_id=str(number))
        memory.remember(request, found, at=NOW)
    assert memory.recall("0", request, now=NOW, erased_at=None) is None
    assert memory.recall("2", request, now=NOW, erased_at=None) is not None


@pytest.mark.parametrize("asked", [{"customer_id": "c-1"}, ASK], ids=["by the store", "by itself"])
def test_a_key_is_answered_alike_for_a_day_and_then_anew(asked: dict[str, Any]) -> None:
    """Regression: what a process remembered had no age."""
    here = service()
    request = decode_nudge_request({**asked, "decision_key": "k"})
    days = [timedelta(0), timedelta(hours=23), timedelta(hours=24), timedelta(hours=47)]
    found = [here.respond(request, now=NOW + later, decision_id="x").decided_at for later in days]
    assert found == [NOW, NOW, NOW + timedelta(hours=24), NOW + timedelta(hours=24)]


def test_what_an_erasure_removed_is_answered_no_more() -> None:
    """Regression: the process that had answered went on nudging by the erased consent."""
    store = DynamoLike(Stored(Profile(consents={"email": True})))
    asked = with_store(store)
    request = decode_nudge_request({"customer_id": "c-1", "decision_key": "k"})
    assert "mail" in asked.respond(request, now=NOW, decision_id="x").propensities
    erasure = {"schema_version": 1, "event_id": "e", "tenant": "acme", "customer_id": "c-1"}
    store.stored = merged(store.stored, [Erasure(**erasure, timestamp=NOW + timedelta(minutes=1))])
    found = asked.respond(request, now=NOW + timedelta(minutes=2), decision_id="x")
    assert "mail" not in found.propensities
    assert found.decided_at == NOW + timedelta(minutes=2)


def test_a_decision_reads_the_store_once() -> None:
    store = DynamoLike(Stored(Profile(consents={"email": True})))
    asked = with_store(store)
    for _ in range(3):
        ask(asked, {"customer_id": "c-1"}, decision_key="k")
    assert store.reads == 3


# --- the profile store ------------------------------------------------------------------------


class BrokenStore:
    """A store that is down, for reading or for writing."""

    def __init__(self, *, reads: bool = False) -> None:
        self.reads = reads

    def read(self, customer_id: str) -> Stored:
        if self.reads:
            return Stored(Profile(consents={"email": True}))
        raise ProfileStoreError("down")

    def record(self, customer_id: str, seen: Stored, change: Change) -> None:
        raise ProfileStoreError("down")


class DynamoLike:
    """A store of one customer, whose profile others change too."""

    def __init__(self, stored: Stored) -> None:
        self.stored, self.reads = stored, 0

    def read(self, customer_id: str) -> Stored:
        self.reads += 1
        return self.stored

    def record(self, customer_id: str, seen: Stored, change: Change) -> None:
        self.stored = changed(seen, change)


def with_store(store: Any, **serving: Any) -> NudgeService:
    nudge = Nudge(small_policy.policy(**serving), tenant="acme")
    return NudgeService(nudge, run="run-1", version="7", profiles=store)


def test_the_store_s_profile_serves_where_the_request_has_none() -> None:
    store = InMemoryProfiles()
    store.put("c-1", Profile(consents={"email": True}))
    found = ask(with_store(store), {"customer_id": "c-1"})
    assert "mail" in found.propensities
    assert "mail" not in ask(with_store(store), {"customer_id": "c-2"}).propensities


def test_own_decisions_count_towards_the_caps() -> None:
    rules = {"caps": [{"scope": "global", "limit": 1, "period": "hour"}]}
    asked = with_store(InMemoryProfiles(), guardrails=rules, exploration_floor=1.0)
    request = decode_nudge_request({"customer_id": "c-1"})
    actions = [asked.respond(request, now=NOW, decision_id=str(n)).action for n in range(30)]
    assert sum(action != "none" for action in actions) == 1
    later = NOW + timedelta(hours=1)
    again = [asked.respond(request, now=later, decision_id=str(n)).action for n in range(30)]
    assert sum(action != "none" for action in again) == 1


def test_a_silent_store_degrades_the_answer_and_forbids_what_it_could() -> None:
    found = ask(with_store(BrokenStore()), {"customer_id": "c-1", "context": CONTEXT})
    assert found.degraded
    assert list(found.propensities) == ["banner", "none"]
    assert "did not answer" in found.excluded[0].detail


def test_a_contact_that_could_not_be_counted_is_said() -> None:
    asked = with_store(BrokenStore(reads=True), exploration_floor=1.0)
    request = decode_nudge_request({"customer_id": "c-1"})
    answers = [asked.respond(request, now=NOW, decision_id=str(n)) for n in range(20)]
    assert {answer.degraded for answer in answers if answer.action != "none"} == {True}
    assert not any(answer.degraded for answer in answers if answer.action == "none")


# --- expiry -----------------------------------------------------------------------------------


def test_an_answer_expires_before_quiet_hours_and_the_action_s_end() -> None:
    actions = [{"action": "mail", "valid_until": "2026-03-02T12:40:00Z"}, {"action": "none"}]
    one_action = {"actions": actions, "features": [], "coefficients": [[0.3], [0.1]]}
    quiet = {"quiet_hours": [{"start": "13:30", "end": "14:00"}]}

    def expiry(**serving: Any) -> datetime:
        asked = service(**serving)
        request = decode_nudge_request({"customer_id": "c", "time_zone": "Europe/Paris"})
        decisions = [asked.respond(request, now=NOW, decision_id=str(n)) for n in range(60)]
        return min(d.expires_at for d in decisions if d.action == "mail")

    assert expiry(**one_action) == datetime(2026, 3, 2, 12, 40, tzinfo=UTC)
    assert expiry(**one_action, guardrails=quiet) == datetime(2026, 3, 2, 12, 30, tzinfo=UTC)


# --- apprentice -------------------------------------------------------------------------------


def compared(count: int, **apprentice: Any) -> list[Comparison]:
    logged: list[Any] = []
    asked = watched(apprentice, log=logged.append)
    request = decode_nudge_request(ASK)
    answers = [asked.respond(request, now=NOW, decision_id=str(n)) for n in range(count)]
    assert [found.decision_id for found in logged] == [a.decision_id for a in answers]
    assert [found.action for found in logged] == [a.action for a in answers]
    return logged


def test_an_apprentice_equal_to_the_running_policy_always_agrees() -> None:
    found = compared(50, salt="of another run")
    assert all(record.agrees for record in found)
    assert found[0].overlap == pytest.approx(1.0)
    assert (found[0].run, found[0].apprentice_run) == ("run-1", "run-2")


def test_an_apprentice_of_another_mind_is_logged_and_not_acted_on() -> None:
    other = {"policy": "epsilon-greedy", "reward_worth": -1.0, "exploration_floor": 0.0}
    found = compared(200, **other)
    assert {record.apprentice_action for record in found} == {"none"}
    assert {record.action for record in found} > {"none"}
    agreement = np.mean([record.agrees for record in found])
    assert agreement <= found[0].overlap + 0.1
    assert 0 < found[0].overlap < 0.5


def test_an_apprentice_s_failure_does_not_reach_the_caller() -> None:
    features = [{"name": "device", "type": "number", "start": 0, "width": 1}]
    logged: list[Any] = []
    numbers_only = {"features": features, "coefficients": [[0, 0]] * 3}
    asked = watched(numbers_only, log=logged.append)
    assert ask(asked).propensity > 0
    assert isinstance(logged[0], ComparisonFailure)
    assert "expected a number" in logged[0].error


def test_a_repeated_question_is_compared_once() -> None:
    logged: list[Any] = []
    asked = watched({}, log=logged.append)
    for _ in range(3):
        ask(asked, decision_key="k")
    assert len(logged) == 1


def test_a_replay_is_neither_compared_nor_counted_as_a_contact() -> None:
    logged: list[Any] = []
    rules = {"caps": [{"scope": "global", "limit": 0, "period": "hour"}]}
    asked = watched({"guardrails": rules}, log=logged.append)
    for number in range(20):
        ask(asked, {"customer_id": "c-1"}, now=NOW.isoformat(), decision_key=str(number))
    assert logged == []
    assert asked.profiles.read("c-1") == Stored()


def test_nothing_of_the_customer_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    actions = [
        {"action": "mail", "conditions": [{"attribute": "tier", "one_of": ["gold"]}]},
        {"action": "banner"},
        {"action": "none"},
    ]
    asked = dataclasses.replace(service(actions=actions), log=print_line)
    profile = {"attributes": {"tier": "bronze"}}
    found = ask(asked, customer_id="zoe@example.org", profile=profile)
    line = capsys.readouterr().out
    record = json.loads(line)
    assert (record["event"], record["decision_id"]) == ("nudge", found.decision_id)
    assert record["propensities"] == found.propensities
    assert record["excluded"] == {"mail": "eligibility"}
    assert record["holdout"] is False
    for secret in ("zoe", "web", "bronze"):
        assert secret not in line


def test_a_comparison_is_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    ask(watched({}, log=print_line))
    line = capsys.readouterr().out
    assert json.loads(line)["event"] == "apprentice"
    assert "web" not in line
