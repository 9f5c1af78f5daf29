"""The in-memory store: what it remembers, and what it forgets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from inference.profiles import (
    ANSWERS_KEPT,
    MAX_ANSWERS,
    MAX_CONTACTS,
    Answered,
    Change,
    Contact,
    InMemoryProfiles,
    Profile,
    ProfileChangedError,
    ProfileStore,
    Stored,
    changed,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def contacted(store: ProfileStore, customer: str, at: datetime) -> None:
    store.record(customer, store.read(customer), Change(at, Contact("mail", at)))


def test_contacts_join_what_is_known_of_the_customer() -> None:
    store = InMemoryProfiles()
    store.put("c-1", Profile(consents={"email": True}))
    contacted(store, "c-1", NOON)
    known = Profile(consents={"email": True}, contacts=[Contact("mail", NOON)])
    assert store.read("c-1").profile == known
    assert store.read("c-2") == Stored()


def test_a_profile_put_in_stays_its_owner_s() -> None:
    store, given = InMemoryProfiles(), Profile()
    store.put("c-1", given)
    contacted(store, "c-1", NOON)
    assert given.contacts == []


def test_contacts_no_cap_can_count_any_more_are_dropped() -> None:
    store = InMemoryProfiles()
    for days in (0, 6, 7, 8):
        contacted(store, "c-1", NOON + timedelta(days=days))
    found = store.read("c-1").profile
    assert [contact.at.day for contact in found.contacts] == [8, 9, 10]


def test_a_profile_s_contacts_are_bounded() -> None:
    store = InMemoryProfiles()
    for second in range(MAX_CONTACTS + 5):
        contacted(store, "c-1", NOON + timedelta(seconds=second))
    found = store.read("c-1").profile
    assert len(found.contacts) == MAX_CONTACTS
    assert found.contacts[0].at == NOON + timedelta(seconds=5)


def test_the_least_recently_written_customer_is_forgotten() -> None:
    store = InMemoryProfiles(capacity=2)
    for customer in ("c-1", "c-2", "c-1", "c-3"):
        store.put(customer, Profile())
    assert store.read("c-2").revision == 0
    assert store.read("c-1").revision > 0


def test_of_two_changes_to_one_revision_the_second_is_refused() -> None:
    store = InMemoryProfiles()
    seen = store.read("c-1")
    store.record("c-1", seen, Change(NOON, Contact("mail", NOON)))
    with pytest.raises(ProfileChangedError):
        store.record("c-1", seen, Change(NOON, Contact("push", NOON)))
    assert [contact.action for contact in store.read("c-1").profile.contacts] == ["mail"]


def test_answers_are_kept_for_their_time_and_number() -> None:
    stored = Stored()
    for number in range(MAX_ANSWERS + 3):
        answer = Answered(NOON + timedelta(minutes=number), "digest", b"{}")
        stored = changed(stored, Change(answer.at, answer=(f"d-{number}", answer)))
    assert list(stored.answers) == [f"d-{number}" for number in range(3, MAX_ANSWERS + 3)]
    later = NOON + timedelta(minutes=5) + ANSWERS_KEPT
    assert next(iter(changed(stored, Change(later)).answers)) == "d-6"
