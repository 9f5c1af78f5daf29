"""Events as producers put them on the stage's stream: one JSON object a record. Runs in a Lambda.

Strict like every contract of ours: an unknown field, a wrong type or a value out of bounds is a
`BadRequestError` that names the field's path. The same `event_id` is the same event.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference.contracts import Identifier, decode
from inference.errors import BadRequestError
from inference.guardrail_rules import Name, Plain

MAX_AHEAD = timedelta(minutes=5)
MAX_ATTRIBUTES = 50
Tenant = Annotated[str, Meta(pattern=r"^[a-z](?:[a-z0-9]|-(?=[a-z0-9])){0,19}$")]
AwareTime = Annotated[datetime, Meta(tz=True)]


class Event(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"
):
    """What every event says: which it is, whose, of whom, and when it happened."""

    schema_version: Literal[1]
    event_id: Identifier
    tenant: Tenant
    customer_id: Identifier
    timestamp: AwareTime


class Interaction(Event, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="interaction"):
    """The customer did something with a product; `event` is the tenant's own word for it."""

    product_id: Identifier
    event: Identifier


class Consent(Event, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="consent"):
    """All the customer now grants on a channel: yes or no, or by purpose."""

    channel: Name
    granted: bool | Annotated[dict[Name, bool], Meta(max_length=MAX_ATTRIBUTES)]


class Attributes(Event, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="customer"):
    """Attributes of the customer that changed; the others stay. null takes one back."""

    attributes: Annotated[dict[Name, Plain | None], Meta(min_length=1, max_length=MAX_ATTRIBUTES)]


class Erasure(Event, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="erasure"):
    """The customer is to be forgotten: all that happened up to then, whenever it arrives."""


AnyEvent = Interaction | Consent | Attributes | Erasure
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def decode_event(record: Any, *, now: datetime) -> AnyEvent:
    """An event from JSON bytes, text or plain values. Raises `BadRequestError`, also for a time
    more than `MAX_AHEAD` after `now`: it would outlive every later change."""
    found = decode(record, _decoder)
    if found.timestamp > now + MAX_AHEAD:
        raise BadRequestError(
            f"{found.timestamp.isoformat()} is more than {MAX_AHEAD} ahead of {now.isoformat()}; "
            "expected when it happened, in UTC",
            path="$.timestamp",
        )
    return found
