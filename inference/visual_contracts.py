"""Requests and answers of similar-products, as msgspec structs. Runs in a Lambda."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from inference.contracts import Filters, Identifier
from inference.decoding import check_ids, decode
from inference.errors import BadRequestError

MAX_IMAGE_TEXT = 8 * 2**20  # a Lambda takes 6 MB of request
_SOURCES = ("product", "image", "image_key")


class SimilarRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ask for products that look like one: a `product` of the model, an `image` (a file's bytes in
    base64), or the file at `image_key`, `tenants/<tenant>/pictures/…` in the stage's bucket. `now`
    is for replays."""

    product: Identifier | None = None
    image: Annotated[str, Meta(min_length=1, max_length=MAX_IMAGE_TEXT)] | None = None
    image_key: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 10
    include: Filters = {}
    exclude: Filters = {}
    exclude_products: Annotated[list[Identifier], Meta(max_length=10_000)] = []
    include_unavailable: bool = False
    decision_id: Identifier | None = None
    now: datetime | None = None


class SimilarProduct(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A product and the cosine of its picture's embedding with the one asked about, -1 to 1."""

    product_id: str
    similarity: float
    title: str | None = None


class Similar(msgspec.Struct, frozen=True):
    """The core's answer. `labels` are, for a picture that was sent, the likeliest values of each
    label that the model has learned, with their probabilities."""

    products: list[SimilarProduct]
    labels: dict[str, dict[str, float]]
    unknown_products: list[str]
    empty_reason: str | None


class SimilarResponse(msgspec.Struct, frozen=True):
    """What the caller gets: the answer and who gave it; `logged` as in `ProductResponse`."""

    decision_id: str
    model_version: str
    run: str
    tenant: str
    products: list[SimilarProduct]
    labels: dict[str, dict[str, float]]
    unknown_products: list[str]
    empty_reason: str | None
    degraded: bool = False
    logged: bool | None = None


_decoder = msgspec.json.Decoder(SimilarRequest)


def decode_similar_request(request: Any) -> SimilarRequest:
    """A request from JSON bytes, text or plain values. Raises `BadRequestError`."""
    found = decode(request, _decoder)
    check_ids(found, "product")
    given = [name for name in _SOURCES if getattr(found, name) is not None]
    if len(given) != 1:
        raise BadRequestError(
            f"needs one of {', '.join(_SOURCES)}; got {' and '.join(given) or 'none'}",
            path=f"$.{given[1]}" if given else "$",
        )
    return found
