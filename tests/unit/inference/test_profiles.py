"""The in-memory store: what it remembers, and what it forgets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from inference.profiles import MAX_CONTACTS, Contact, InMemoryProfiles, Profile

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


def test_contacts_join_what_is_known_of_the_customer() -> None:
    store = InMemoryProfiles()
    store.put("c-1", Profile(consents={"email": True}))
    store.record("c-1", Contact("mail", NOON))
    assert store.read("c-1") == Profile(consents={"email": True}, contacts=[Contact("mail", NOON)])
    assert store.read("c-2") is None


def test_a_profile_put_in_stays_its_owner_s() -> None:
    store, given = InMemoryProfiles(), Profile()
    store.put("c-1", given)
    store.record("c-1", Contact("mail", NOON))
    assert given.contacts == []


def test_contacts_no_cap_can_count_any_more_are_dropped() -> None:
    store = InMemoryProfiles()
    for days in (0, 6, 7, 8):
        store.record("c-1", Contact("mail", NOON + timedelta(days=days)))
    found = store.read("c-1")
    assert found is not None
    assert [contact.at.day for contact in found.contacts] == [8, 9, 10]


def test_a_profile_s_contacts_are_bounded() -> None:
    store = InMemoryProfiles()
    for second in range(MAX_CONTACTS + 5):
        store.record("c-1", Contact("mail", NOON + timedelta(seconds=second)))
    found = store.read("c-1")
    assert found is not None
    assert len(found.contacts) == MAX_CONTACTS
    assert found.contacts[0].at == NOON + timedelta(seconds=5)


def test_the_least_recently_written_customer_is_forgotten() -> None:
    store = InMemoryProfiles(capacity=2)
    for customer in ("c-1", "c-2", "c-1", "c-3"):
        store.put(customer, Profile())
    assert store.read("c-2") is None
    assert store.read("c-1") is not None
