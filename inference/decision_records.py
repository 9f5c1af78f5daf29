"""A decision as it goes on the stage's stream of decisions, one JSON object a record.

Made by the decision Lambdas of a request and its answer, read by `record-decisions`. It says whom
the decision was for and what could have been drawn with which probability, which is what learning
needs; of the request it tells what shaped the answer, with long lists by their length.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import msgspec

from inference.contracts import Identifier, ProductRequest, ProductResponse
from inference.decoding import decode
from inference.event_contracts import AwareTime, Tenant
from inference.nudge_contracts import NudgeRequest, NudgeResponse
from inference.visual_contracts import SimilarRequest, SimilarResponse

MAX_BYTES = 900 * 1024  # of the 1 MiB that Kinesis and SQS take, with all that is said beside it
_ELSEWHERE = {"customer_id", "decision_id", "decision", "decision_key", "context"}
_UNTOLD = _ELSEWHERE | {"now", "image"}
_COUNTED = {"history", "products", "include_products", "exclude_products"}
_JSON = msgspec.json.Encoder(order="deterministic")


class Slot(msgspec.Struct, frozen=True, gc=False):
    """A product as it was shown; its place in the list is its slot. `propensity` is given the slots
    above."""

    product_id: str
    score: float
    propensity: float = 1.0
    explored: bool = False
    promoted: bool = False


class Eligible(msgspec.Struct, frozen=True, gc=False):
    """An action that could have been drawn, with its probability."""

    action: str
    propensity: float


class Excluded(msgspec.Struct, frozen=True, gc=False):
    """An action that could not be drawn, and the rule against it."""

    action: str
    reason: str


class DecisionRecord(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One decision. `slots` are of those about products; `action` to `context` of nudges."""

    schema_version: Literal[1]
    decision_id: Identifier
    decision: str
    tenant: Tenant
    at: AwareTime
    model_version: str
    run: str
    customer_id: str | None = None
    slots: list[Slot] | None = None
    action: str | None = None
    propensity: float | None = None
    eligible: list[Eligible] | None = None
    exclusions: list[Excluded] | None = None
    holdout: bool | None = None
    context: dict[str, Any] | None = None
    request: dict[str, Any] = {}
    degraded: bool = False


def of_products(
    request: ProductRequest, response: ProductResponse, *, at: datetime
) -> DecisionRecord:
    slots = [
        Slot(shown.product_id, shown.score, shown.propensity, shown.explored, shown.promoted)
        for shown in response.products
    ]
    return DecisionRecord(
        **_head(response, at=at),
        decision=response.decision,
        customer_id=request.customer_id,
        slots=slots,
        request=_told(request),
        degraded=response.degraded,
    )


def of_similar(
    request: SimilarRequest, response: SimilarResponse, *, at: datetime
) -> DecisionRecord:
    return DecisionRecord(
        **_head(response, at=at),
        decision="similar-products",
        slots=[Slot(shown.product_id, shown.similarity) for shown in response.products],
        request=_told(request),
    )


def of_nudge(request: NudgeRequest, response: NudgeResponse) -> DecisionRecord:
    return DecisionRecord(
        **_head(response, at=response.decided_at),
        decision="nudge",
        customer_id=request.customer_id,
        action=response.action,
        propensity=response.propensity,
        eligible=[Eligible(*pair) for pair in response.propensities.items()],
        exclusions=[Excluded(found.action, found.rule) for found in response.excluded],
        holdout=response.holdout,
        context=request.context,
        request=_told(request),
        degraded=response.degraded,
    )


def _head(
    response: ProductResponse | SimilarResponse | NudgeResponse, *, at: datetime
) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "decision_id": response.decision_id,
        "tenant": response.tenant,
        "at": at.astimezone(UTC),
        "model_version": response.model_version,
        "run": response.run,
    }


def _told(request: ProductRequest | SimilarRequest | NudgeRequest) -> dict[str, Any]:
    """What was asked besides the customer and the context, where it is not the default."""
    told: dict[str, Any] = {}
    for field in msgspec.structs.fields(request):
        value = getattr(request, field.name)
        if field.name in _UNTOLD or value is None or value in ([], {}) or value == field.default:
            continue
        if field.name == "profile":
            value = True
        told[field.name] = len(value) if field.name in _COUNTED else value
    return told


def encode_record(record: DecisionRecord) -> bytes:
    """The record as JSON of at most `MAX_BYTES`: where the caller made it longer, the request is
    left out, then the context, then the exclusions, and the record says so."""
    line = _JSON.encode(record)
    size = len(line)
    for without in ({}, {"context": None}, {"exclusions": None}):
        if len(line) <= MAX_BYTES:
            break
        told = {"shortened_from_bytes": size}
        record = msgspec.structs.replace(record, request=told, **without)
        line = _JSON.encode(record)
    return line


_decoder = msgspec.json.Decoder(DecisionRecord)


def decode_record(line: bytes) -> DecisionRecord:
    """A record of the stream. Raises `BadRequestError` with the path of what is wrong."""
    return decode(line, _decoder)


def row_of(record: DecisionRecord) -> dict[str, Any]:
    """The record as a row of the archive's `decisions`: context and request are JSON."""
    plain = {
        name: msgspec.to_builtins(value, builtin_types=(datetime,))
        for name, value in msgspec.structs.asdict(record).items()
        if name not in ("schema_version", "tenant")
    }
    context = None if record.context is None else _JSON.encode(record.context).decode()
    told = {"context": context, "request": _JSON.encode(record.request).decode()}
    return {**plain, **told, "at": record.at.astimezone(UTC)}
