"""What is known of a customer when a nudge is decided, behind a small interface. Runs in a Lambda.

The profile in a request is used as it stands. Without one the store is asked: the stage's table
(`inference.dynamo_profiles`), or where there is none `InMemoryProfiles`, which knows what this
process did. A store that fails raises `ProfileStoreError`; the decision is then made without it,
and says so.

What is written names the revision it was decided on, so that of two simultaneous decisions only one
can count its contact; the other reads again, and decides knowing it.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Annotated, Protocol

import msgspec
from msgspec import Meta

from inference.errors import NextbestError
from inference.guardrail_rules import PERIOD_SECONDS, Name, Plain, aware

MAX_CONTACTS = 1000
MAX_ANSWERS = 20
ANSWERS_KEPT = timedelta(hours=24)
_LONGEST = timedelta(seconds=max(PERIOD_SECONDS.values()))


class ProfileStoreError(NextbestError):
    """The profile store did not answer; a decision can be made without it."""


class ProfileFullError(ProfileStoreError):
    """A profile too large to store; asking again does not help."""


class ProfileChangedError(ProfileStoreError):
    """The profile is no longer what the decision was made on: read and decide again."""


class Contact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A nudge the customer got. Without a channel, its action's counts."""

    action: Name
    at: datetime
    channel: Name | None = None


class Conversion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Something the customer did that a nudge wanted; without an action it cools all of them."""

    at: datetime
    action: Name | None = None


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A customer. `consents` is by channel: yes or no, or by purpose of the channel.

    A channel that is not there has no consent.
    """

    consents: dict[Name, bool | dict[Name, bool]] = {}
    attributes: dict[Name, Plain | None] = {}
    contacts: Annotated[list[Contact], Meta(max_length=MAX_CONTACTS)] = []
    conversions: Annotated[list[Conversion], Meta(max_length=MAX_CONTACTS)] = []
    time_zone: str | None = None


class Answered(msgspec.Struct, frozen=True):
    """A keyed decision that was answered: a digest of what was asked, and the answer as JSON."""

    at: datetime
    request: str
    response: bytes


class Seen(msgspec.Struct, frozen=True):
    """An interaction: what the customer did with which product. `at` is in UTC."""

    at: datetime
    event_id: str
    product_id: str
    event: str


class Stamp(msgspec.Struct, frozen=True):
    """The event that set a consent or an attribute."""

    at: datetime
    event_id: str


class Stored(msgspec.Struct, frozen=True):
    """What a store holds of a customer. `revision` is 0 where there is nothing; `answers` are by
    decision id, `interactions` in order of time, the oldest first; `stamps` are by
    `consents:<channel>` and `attributes:<name>`; nothing up to `erased_at` may be kept."""

    profile: Profile = Profile()
    revision: int = 0
    answers: dict[str, Answered] = {}
    interactions: list[Seen] = []
    stamps: dict[str, Stamp] = {}
    erased_at: datetime | None = None


class Change(msgspec.Struct, frozen=True):
    """What a decision adds: a contact, an answer under its decision id, or both."""

    at: datetime
    contact: Contact | None = None
    answer: tuple[str, Answered] | None = None


def changed(stored: Stored, change: Change) -> Stored:
    """The next revision. Contacts that no cap can count any more and answers that are kept no
    longer are left out; so are the oldest beyond `MAX_CONTACTS` and `MAX_ANSWERS`."""
    contacts, oldest = stored.profile.contacts, aware(change.at) - _LONGEST
    contacts = [contact for contact in contacts if aware(contact.at) > oldest]
    contacts += [change.contact] if change.contact else []
    answers = {
        key: answer
        for key, answer in stored.answers.items()
        if aware(answer.at) > aware(change.at) - ANSWERS_KEPT
    }
    if change.answer:
        answers[change.answer[0]] = change.answer[1]
    return msgspec.structs.replace(
        stored,
        profile=msgspec.structs.replace(stored.profile, contacts=contacts[-MAX_CONTACTS:]),
        revision=stored.revision + 1,
        answers=dict(list(answers.items())[-MAX_ANSWERS:]),
    )


class ProfileStore(Protocol):
    """Where profiles are read from, and what a decision adds is written to."""

    def read(self, customer_id: str) -> Stored:
        """What is known of the customer. Raises `ProfileStoreError`."""

    def record(self, customer_id: str, seen: Stored, change: Change) -> None:
        """Add a change to the revision that was seen. Raises `ProfileChangedError` where another
        came first, `ProfileStoreError` where the store did not answer."""


class InMemoryProfiles:
    """Profiles of this process, the least recently written forgotten first."""

    def __init__(self, *, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._stored: OrderedDict[str, Stored] = OrderedDict()

    def put(self, customer_id: str, profile: Profile) -> None:
        """Set what is known of a customer."""
        self._write(customer_id, Stored(profile, self.read(customer_id).revision + 1))

    def read(self, customer_id: str) -> Stored:
        return self._stored.get(customer_id, _NOTHING)

    def record(self, customer_id: str, seen: Stored, change: Change) -> None:
        if self.read(customer_id).revision != seen.revision:
            raise ProfileChangedError("the profile was written since it was read")
        self._write(customer_id, changed(seen, change))

    def _write(self, customer_id: str, stored: Stored) -> None:
        self._stored[customer_id] = stored
        self._stored.move_to_end(customer_id)
        if len(self._stored) > self._capacity:
            self._stored.popitem(last=False)


_NOTHING = Stored()
