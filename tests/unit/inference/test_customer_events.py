"""A profile is a function of the set of events: any order, any duplication, any batching."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.customer_events import MAX_CONVERSIONS, MAX_INTERACTIONS, merged
from inference.dynamo_profiles import MAX_BYTES, bounded
from inference.errors import BadRequestError
from inference.event_contracts import OfCustomer, Reward, decode_event
from inference.profiles import Answered, Contact, Conversion, Profile, Seen, Stored

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)


def event(number: int, *, at: int = 0, **fields: Any) -> Any:
    when = NOW - timedelta(minutes=100) + timedelta(minutes=at)
    head = {"schema_version": 1, "event_id": f"e-{number}", "tenant": "acme", "customer_id": "c-1"}
    return decode_event({**head, "timestamp": when.isoformat(), **fields}, now=NOW)


def view(number: int, *, at: int = 0) -> OfCustomer:
    return event(number, at=at, type="interaction", product_id=f"p-{number % 7}", event="view")


def consent(number: int, granted: bool, *, at: int = 0) -> OfCustomer:
    return event(number, at=at, type="consent", channel="mail", granted=granted)


def reward(number: int, *, at: int = 0, worth: float = 1.0, action: str | None = "mail") -> Reward:
    found = event(number, at=at, type="reward", reward=worth, action=action)
    assert isinstance(found, Reward)
    return found


def what_of(kind: str, number: int, at: int) -> OfCustomer:
    if kind == "interaction":
        return view(number, at=at)
    if kind == "consent":
        return consent(number, number % 2 == 0, at=at)
    if kind == "reward":
        return reward(number, at=at, worth=number % 3, action=f"a{number % 2}")
    if kind == "customer":
        return event(number, at=at, type=kind, attributes={f"a{number % 2}": number})
    return event(number, at=at, type="erasure")


@st.composite
def sets_of_events(draw: st.DrawFn) -> list[OfCustomer]:
    kinds = st.sampled_from(
        ["interaction", "interaction", "consent", "customer", "reward", "reward", "erasure"]
    )
    drawn = draw(st.lists(st.tuples(kinds, st.integers(0, 8)), max_size=14))
    return [what_of(kind, number, at) for number, (kind, at) in enumerate(drawn)]


def known(stored: Stored) -> Stored:
    return msgspec.structs.replace(stored, revision=0)


@given(events=sets_of_events(), data=st.data())
def test_order_duplication_and_batching_do_not_matter(
    events: list[OfCustomer], data: st.DataObject
) -> None:
    expected = known(merged(Stored(), events))
    arriving = data.draw(st.permutations(events + events[: len(events) // 2]))
    stored = Stored()
    while arriving:
        size = data.draw(st.integers(1, len(arriving)))
        batch, arriving = arriving[:size], arriving[size:]
        stored = merged(stored, batch)
    assert known(stored) == expected


def test_the_newest_interactions_are_kept_in_order_of_time() -> None:
    late_first = [view(n, at=-n) for n in range(MAX_INTERACTIONS + 5)]
    found = merged(Stored(), late_first).interactions
    assert [seen.event_id for seen in found] == [
        f"e-{n}" for n in reversed(range(MAX_INTERACTIONS))
    ]


def test_a_late_consent_does_not_undo_a_newer_withdrawal() -> None:
    stored = merged(Stored(), [consent(1, False, at=5)])
    assert merged(stored, [consent(2, True, at=4)]) is stored
    assert stored.profile.consents == {"mail": False}


def test_a_conversion_is_the_last_of_its_action_and_a_reward_of_nothing_is_none() -> None:
    events = [reward(1, at=2), reward(2, at=5), reward(3, at=9, worth=0.0), reward(4, action=None)]
    stored = merged(Stored(), events)
    start = NOW - timedelta(minutes=100)
    assert stored.profile.conversions == [
        Conversion(start),
        Conversion(start + timedelta(minutes=5), "mail"),
    ]
    assert merged(stored, [reward(5, at=4)]) is stored


def test_the_newest_conversions_are_kept() -> None:
    late_first = [reward(n, at=-n, action=f"a{n}") for n in range(MAX_CONVERSIONS + 5)]
    found = merged(Stored(), late_first).profile.conversions
    assert [known.action for known in found] == [f"a{n}" for n in reversed(range(MAX_CONVERSIONS))]


def test_an_erasure_forgets_what_was_before_it_also_what_arrives_later() -> None:
    before = NOW - timedelta(hours=3)
    stored = Stored(
        Profile(contacts=[Contact("mail", before)]), 4, {"d": Answered(before, "x", b"{}")}
    )
    erased = merged(stored, [view(1, at=1), event(2, at=5, type="erasure"), view(3, at=6)])
    assert (erased.profile, erased.answers, erased.revision) == (Profile(), {}, 5)
    assert [seen.event_id for seen in erased.interactions] == ["e-3"]
    assert merged(erased, [view(4, at=4)]) is erased


def test_what_is_known_already_is_no_new_revision() -> None:
    stored = merged(Stored(), [view(1)])
    assert stored.revision == 1
    assert merged(stored, [view(1)]) is stored


def test_of_a_profile_too_large_the_oldest_interactions_go_first() -> None:
    seen = [Seen(NOW, f"{n:03}" + "e" * 250, "p" * 250, "v" * 250) for n in range(200)]
    stored = Stored(Profile(contacts=[Contact("mail", NOW)]), 1, interactions=seen)
    content = bounded(stored)
    found = msgspec.msgpack.decode(content, type=Stored)
    assert len(content) <= MAX_BYTES
    assert found.interactions == seen[-len(found.interactions) :]
    assert found.interactions
    assert len(found.profile.contacts) == 1


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"timestamp": "2026-03-02T12:06:00Z"}, "$.timestamp"),
        ({"timestamp": "2026-03-02T11:00:00"}, "$.timestamp"),
        ({"tenant": "acme#other"}, "$.tenant"),
        ({"customer_id": ""}, "$.customer_id"),
        ({"schema_version": 2}, "$.schema_version"),
        ({"type": "nope"}, "$.type"),
        ({"colour": "red"}, "$"),
        ({"event_id": 7}, "$.event_id"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "$.timestamp"),
        ({"value": float("nan")}, "$.value"),
    ],
)
def test_an_event_that_breaks_its_contract_is_refused(change: dict[str, Any], path: str) -> None:
    good = msgspec.to_builtins(view(1))
    with pytest.raises(BadRequestError) as refused:
        decode_event({**good, **change}, now=NOW)
    assert refused.value.path == path


@pytest.mark.parametrize(
    ("fields", "path", "said"),
    [
        ({"type": "reward", "reward": 1}, "$", "decision_id or customer_id"),
        ({"type": "reward", "reward": float("inf"), "customer_id": "c"}, "$.reward", "finite"),
        ({"type": "reward", "reward": 1, "value": float("nan")}, "$.value", "finite"),
        (
            {"type": "customer", "customer_id": "c", "attributes": {"age": float("nan")}},
            "$.attributes.age",
            "finite",
        ),
        (
            {"type": "product", "product_id": "p", "attributes": {"size": float("inf")}},
            "$.attributes.size",
            "finite",
        ),
        ({"type": "reward", "decision_id": "d"}, "$", "reward"),
        ({"type": "product", "product_id": "p"}, "$", "available, price or attributes"),
        ({"type": "product", "product_id": "p", "price": -1}, "$.price", ">= 0"),
        ({"type": "product", "product_id": "p", "price": float("nan")}, "$.price", ">= 0"),
        ({"type": "product", "product_id": "p", "available": 1}, "$.available", "bool"),
        ({"type": "product", "price": 1}, "$", "product_id"),
        (
            {"type": "product", "product_id": "p", "attributes": {"price": 1}},
            "$.attributes.price",
            "as the field price",
        ),
    ],
)
def test_a_reward_or_product_that_says_too_little_is_refused(
    fields: dict[str, Any], path: str, said: str
) -> None:
    head = {"schema_version": 1, "event_id": "e-1", "tenant": "acme"}
    with pytest.raises(BadRequestError, match=said) as refused:
        decode_event({**head, "timestamp": NOW.isoformat(), **fields}, now=NOW)
    assert refused.value.path == path


@pytest.mark.parametrize("written", ["NaN", "1e999", "-Infinity"])
def test_a_number_that_is_none_is_refused_in_json(written: str) -> None:
    head = b'{"schema_version": 1, "event_id": "e", "tenant": "acme", "type": "product", '
    tail = b'"product_id": "p", "timestamp": "2026-03-02T12:00:00Z", "price": %s}'
    with pytest.raises(BadRequestError):
        decode_event(head + tail % written.encode(), now=NOW)
