"""A profile as a function of the set of a customer's events: neither their order, nor how often
they arrive, nor how they are batched changes it. Runs in a Lambda; called by `record-events`.

Interactions are the newest `MAX_INTERACTIONS` by time and event id. Consents and attributes are
registers that the newest event wins (Shapiro et al. 2011, "Conflict-free replicated data types");
so is when each action last converted the customer, of the newest `MAX_CONVERSIONS` actions.
An erasure drops what happened up to its time, and what of it still arrives later.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import msgspec

from inference.event_contracts import (
    Attributes,
    Consent,
    CustomerEvent,
    Erasure,
    Interaction,
    OfCustomer,
    Reward,
)
from inference.guardrail_rules import aware
from inference.profiles import (
    Conversion,
    Profile,
    ProfileChangedError,
    ProfileStoreError,
    Seen,
    Stamp,
    Stored,
)

MAX_INTERACTIONS = 200
MAX_CONVERSIONS = 100
_ATTEMPTS = 8


class WritableProfiles(Protocol):
    """Where a tenant's profiles are; `inference.dynamo_profiles` says what is raised."""

    def read(self, customer_id: str) -> Stored: ...

    def read_many(self, customer_ids: Iterable[str]) -> dict[str, Stored]: ...

    def write(self, customer_id: str, seen: Stored, new: Stored) -> None: ...


def bring_in(
    profiles: WritableProfiles,
    customer_id: str,
    events: Sequence[OfCustomer],
    *,
    seen: Stored | None = None,
) -> None:
    """Bring events into a profile: read it, unless it is as `seen`; merge, write what was read;
    again where somebody else was faster. Raises `ProfileStoreError`."""
    for _ in range(_ATTEMPTS):
        seen = profiles.read(customer_id) if seen is None else seen
        new = merged(seen, events)
        if new is seen:
            return
        try:
            profiles.write(customer_id, seen, new)
            return
        except ProfileChangedError:
            seen = None
    raise ProfileStoreError(f"a profile was written {_ATTEMPTS} times while events came in")


def merged(stored: Stored, events: Iterable[OfCustomer]) -> Stored:
    """The next revision, with the events; the same revision where they change nothing."""
    found = stored
    for event in events:
        found = _with(found, event)
    found = _without_erased(found)
    if found == stored:
        return stored
    return msgspec.structs.replace(found, revision=stored.revision + 1)


def _with(stored: Stored, event: OfCustomer) -> Stored:
    at = event.timestamp.astimezone(UTC)
    match event:
        case Interaction():
            seen = Seen(at, event.event_id, event.product_id, event.event)
            return msgspec.structs.replace(stored, interactions=_newest(stored, seen))
        case Reward():
            return _converted(stored, Conversion(at, event.action)) if event.reward > 0 else stored
        case Consent():
            return _registered(stored, "consents", event.channel, event.granted, event)
        case Attributes():
            for name, value in event.attributes.items():
                stored = _registered(stored, "attributes", name, value, event)
            return stored
        case Erasure():
            erased = max(filter(None, (stored.erased_at, at)))
            return msgspec.structs.replace(stored, erased_at=erased)


def _newest(stored: Stored, seen: Seen) -> list[Seen]:
    by_id = {known.event_id: known for known in stored.interactions}
    by_id[seen.event_id] = max(by_id.get(seen.event_id, seen), seen, key=_rank)
    return sorted(by_id.values(), key=_rank)[-MAX_INTERACTIONS:]


def _rank(seen: Seen) -> tuple[datetime, str, str, str]:
    return seen.at, seen.event_id, seen.product_id, seen.event


def _converted(stored: Stored, conversion: Conversion) -> Stored:
    """With the conversion, if it is its action's last."""
    last = {known.action: known for known in stored.profile.conversions}
    known = last.get(conversion.action, conversion)
    last[conversion.action] = max(known, conversion, key=_when)
    found = sorted(last.values(), key=_when)[-MAX_CONVERSIONS:]
    profile = msgspec.structs.replace(stored.profile, conversions=found)
    return msgspec.structs.replace(stored, profile=profile)


def _when(conversion: Conversion) -> tuple[datetime, str]:
    return aware(conversion.at), conversion.action or ""


def _registered(
    stored: Stored, part: str, name: str, value: object, event: CustomerEvent
) -> Stored:
    """With the value, unless a newer event set it."""
    key, stamp = f"{part}:{name}", Stamp(event.timestamp.astimezone(UTC), event.event_id)
    known = stored.stamps.get(key)
    if known is not None and (known.at, known.event_id) >= (stamp.at, stamp.event_id):
        return stored
    values = dict(sorted({**getattr(stored.profile, part), name: value}.items()))
    return msgspec.structs.replace(
        stored,
        profile=msgspec.structs.replace(stored.profile, **{part: values}),
        stamps=dict(sorted({**stored.stamps, key: stamp}.items())),
    )


def _without_erased(stored: Stored) -> Stored:
    """Without what happened up to the erasure; its time stays, for what arrives late."""
    if stored.erased_at is None:
        return stored
    erased = stored.erased_at
    stamps = {key: stamp for key, stamp in stored.stamps.items() if stamp.at > erased}
    profile = stored.profile
    return msgspec.structs.replace(
        stored,
        interactions=[seen for seen in stored.interactions if seen.at > erased],
        stamps=stamps,
        answers={k: found for k, found in stored.answers.items() if aware(found.at) > erased},
        profile=Profile(
            consents={n: v for n, v in profile.consents.items() if f"consents:{n}" in stamps},
            attributes={n: v for n, v in profile.attributes.items() if f"attributes:{n}" in stamps},
            contacts=[found for found in profile.contacts if aware(found.at) > erased],
            conversions=[found for found in profile.conversions if aware(found.at) > erased],
        ),
    )
