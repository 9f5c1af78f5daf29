"""Events as producers put them on the stage's stream: one JSON object a record. Runs in a Lambda.

Strict like every contract of ours: an unknown field, a wrong type or a value out of bounds is a
`BadRequestError` that names the field's path. The same `event_id` is the same event.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference.contracts import Identifier
from inference.decoding import check_finite, check_ids, decode
from inference.errors import BadRequestError
from inference.guardrail_rules import Name, Plain, as_utc

MAX_AHEAD = timedelta(minutes=5)
MAX_ATTRIBUTES = 50
Tenant = Annotated[str, Meta(pattern=r"^[a-z](?:[a-z0-9]|-(?=[a-z0-9])){0,19}$")]
AwareTime = Annotated[datetime, Meta(tz=True)]
ProductValue = Plain | list[Name] | None
_OWN_FIELDS = frozenset({"product_id", "available", "price"})


class Event(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="type"
):
    """What every event says: which it is, whose, and when it happened."""

    schema_version: Literal[1]
    event_id: Identifier
    tenant: Tenant
    timestamp: AwareTime


class CustomerEvent(Event, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An event that belongs in a customer's profile."""

    customer_id: Identifier


class Interaction(
    CustomerEvent, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="interaction"
):
    """The customer did something with a product; `event` is the tenant's own word for it."""

    product_id: Identifier
    event: Identifier
    value: float | None = None
    quantity: float | None = None
    session_id: Identifier | None = None


class Reward(Event, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="reward"):
    """What a nudge brought, of the decision or else of the customer's last one. `value` is its
    worth in money. More than 0 is a conversion of the customer, where one is named."""

    reward: float
    value: float | None = None
    decision_id: Identifier | None = None
    customer_id: Identifier | None = None
    action: Name | None = None


class Consent(CustomerEvent, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="consent"):
    """All the customer now grants on a channel: yes or no, or by purpose."""

    channel: Name
    granted: bool | Annotated[dict[Name, bool], Meta(max_length=MAX_ATTRIBUTES)]


class Attributes(
    CustomerEvent, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="customer"
):
    """Attributes of the customer that changed; the others stay. null takes one back."""

    attributes: Annotated[dict[Name, Plain | None], Meta(min_length=1, max_length=MAX_ATTRIBUTES)]


class Erasure(CustomerEvent, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="erasure"):
    """The customer is to be forgotten: all that happened up to then, whenever it arrives."""


class ProductChange(Event, frozen=True, forbid_unknown_fields=True, kw_only=True, tag="product"):
    """What changed of a product; the rest stays. Decisions honour `available` and `price` at once,
    `attributes` with the next training."""

    product_id: Identifier
    available: bool | None = None
    price: Annotated[float, Meta(ge=0)] | None = None
    attributes: Annotated[dict[Name, ProductValue], Meta(max_length=MAX_ATTRIBUTES)] = {}


AnyEvent = Interaction | Reward | Consent | Attributes | Erasure | ProductChange
OfCustomer = Interaction | Reward | Consent | Attributes | Erasure
_decoder: msgspec.json.Decoder[AnyEvent] = msgspec.json.Decoder(AnyEvent)


def decode_event(record: Any, *, now: datetime) -> AnyEvent:
    """An event from JSON bytes, text or plain values. Raises `BadRequestError`, also for a time
    more than `MAX_AHEAD` after `now`: it would outlive every later change."""
    found = decode(record, _decoder)
    _check_time(found.timestamp, now=now)
    check_ids(found, "customer_id", "product_id")
    _check_numbers(found)
    match found:
        case Reward(decision_id=None, customer_id=None):
            raise BadRequestError("a reward needs decision_id or customer_id")
        case ProductChange():
            _check_product(found)
    return found


def _check_time(timestamp: datetime, *, now: datetime) -> None:
    try:
        ahead = as_utc(timestamp) > now + MAX_AHEAD
    except ValueError as error:
        raise BadRequestError(str(error), path="$.timestamp") from error
    if ahead:
        raise BadRequestError(
            f"{timestamp.isoformat()} is more than {MAX_AHEAD} ahead of {now.isoformat()}; "
            "expected when it happened, in UTC",
            path="$.timestamp",
        )


def _check_numbers(event: AnyEvent) -> None:
    names = ("value", "quantity", "reward", "price")
    check_finite({name: getattr(event, name, None) for name in names}, "$")
    if isinstance(event, Attributes | ProductChange):
        check_finite(event.attributes, "$.attributes")


def _check_product(event: ProductChange) -> None:
    if event.available is None and event.price is None and not event.attributes:
        raise BadRequestError("a product needs available, price or attributes")
    for name in _OWN_FIELDS.intersection(event.attributes):
        raise BadRequestError(
            f"belongs beside the attributes, as the field {name}", path=f"$.attributes.{name}"
        )
