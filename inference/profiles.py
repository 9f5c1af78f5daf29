"""What is known of a customer when a nudge is decided, behind a small interface. Runs in a Lambda.

The profile in a request is used as it stands. Without one the store of the process is asked:
`InMemoryProfiles` knows the contacts that this process made. A store that fails raises
`ProfileStoreError`; the decision is then made without it, and says so.
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
_LONGEST = timedelta(seconds=max(PERIOD_SECONDS.values()))


class ProfileStoreError(NextbestError):
    """The profile store did not answer; a decision can be made without it."""


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


class ProfileStore(Protocol):
    """Where profiles are read from, and contacts are written to."""

    def read(self, customer_id: str) -> Profile | None:
        """The customer's profile; None if there is none. Raises `ProfileStoreError`."""

    def record(self, customer_id: str, contact: Contact) -> None:
        """Remember a contact, for the caps of later decisions. Raises `ProfileStoreError`."""


class InMemoryProfiles:
    """Profiles of this process, the least recently written forgotten first.

    Contacts older than the longest cap's period are dropped as new ones come. What `read` gives
    is the store's own: to be read at once, not kept.
    """

    def __init__(self, *, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._profiles: OrderedDict[str, Profile] = OrderedDict()

    def put(self, customer_id: str, profile: Profile) -> None:
        """Set what is known of a customer."""
        own = msgspec.structs.replace(profile, contacts=list(profile.contacts))
        self._profiles[customer_id] = own
        self._profiles.move_to_end(customer_id)
        if len(self._profiles) > self._capacity:
            self._profiles.popitem(last=False)

    def read(self, customer_id: str) -> Profile | None:
        return self._profiles.get(customer_id)

    def record(self, customer_id: str, contact: Contact) -> None:
        profile = self._profiles.get(customer_id)
        if profile is None:
            self.put(customer_id, Profile(contacts=[contact]))
            return
        contacts, oldest = profile.contacts, aware(contact.at) - _LONGEST
        if contacts and aware(contacts[0].at) <= oldest:
            contacts[:] = [earlier for earlier in contacts if aware(earlier.at) > oldest]
        contacts.append(contact)
        del contacts[:-MAX_CONTACTS]
        self._profiles.move_to_end(customer_id)
