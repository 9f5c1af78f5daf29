"""Requests and answers of every decision, as msgspec structs. Runs in a Lambda.

A request is strict: an unknown field, a wrong type or a value out of bounds is a
`BadRequestError` that names the field's path. `schemas()` gives the JSON Schema of all of them.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from inference.errors import BadRequestError

MAX_HISTORY = 1000
Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
FilterValue = str | int | float | bool
Filters = dict[Identifier, FilterValue | list[FilterValue]]
_AT_PATH = re.compile(r"(?P<message>.*) - at `(?P<path>\$.*)`", re.DOTALL)


class HistoryEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One interaction of the customer. Without a time, its place in the list is its age."""

    product_id: Identifier
    event: Identifier = "purchase"
    timestamp: datetime | None = None


class ProductRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ask for the next best products. `history` is oldest first; `now` is for replays."""

    customer_id: Identifier | None = None
    history: Annotated[list[Identifier | HistoryEvent], Meta(max_length=MAX_HISTORY)] = []
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    include: Filters = {}
    exclude: Filters = {}
    exclude_products: Annotated[list[Identifier], Meta(max_length=10_000)] = []
    exclude_purchased: bool = False
    context_product: Identifier | None = None
    now: datetime | None = None


class Reason(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of a score. `kind`: history, repeat, context, trend or other."""

    kind: str
    contribution: float
    product_id: str | None = None
    title: str | None = None


class ProductAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """A recommended product; the contributions of its reasons sum to its score."""

    product_id: str
    score: float
    reasons: list[Reason]
    title: str | None = None


class Recommendation(msgspec.Struct, frozen=True):
    """The core's answer, before the handler adds who answered."""

    products: list[ProductAnswer]
    unknown_products: list[str]
    fallback: str | None
    empty_reason: str | None


class ProductResponse(msgspec.Struct, frozen=True):
    """What the caller gets."""

    decision_id: str
    model_version: str
    run: str
    tenant: str
    products: list[ProductAnswer]
    unknown_products: list[str]
    fallback: str | None
    empty_reason: str | None
    degraded: bool = False


def decode_request(request: Any) -> ProductRequest:
    """A request from JSON bytes, text or plain values. Raises `BadRequestError`."""
    try:
        if isinstance(request, bytes | str):
            return msgspec.json.decode(request, type=ProductRequest)
        return msgspec.convert(request, ProductRequest)
    except msgspec.ValidationError as error:
        found = _AT_PATH.fullmatch(str(error))
        message, path = (found["message"], found["path"]) if found else (str(error), "$")
        raise BadRequestError(message, path=path) from error
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise BadRequestError(f"the request is not valid JSON: {error}") from error


def error_answer(error: BadRequestError) -> dict[str, Any]:
    """What the caller of a bad request gets."""
    detail = {"status": 400, "code": "BadRequestError", "path": error.path, "message": str(error)}
    return {"error": detail}


def schemas() -> dict[str, Any]:
    """JSON Schema of requests and answers, by name."""
    _, components = msgspec.json.schema_components((ProductRequest, ProductResponse))
    return components
