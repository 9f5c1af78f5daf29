"""Requests and answers of every decision, as msgspec structs. Runs in a Lambda.

A request is strict: an unknown field, a wrong type or a value out of bounds is a
`BadRequestError` that names the field's path.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from inference.decoding import check_finite, check_ids, decode
from inference.errors import BadRequestError

MAX_HISTORY = 1000
DEFAULT_LIMIT = 10
DEFAULT_EVENT = "purchase"
NEWER_THAN_DAYS = 30.0
Identifier = Annotated[str, Meta(min_length=1, max_length=256)]
Share = Annotated[float, Meta(ge=0, le=1)]
FilterValue = str | int | float | bool
Decision = Literal["next-best-product", "similar", "rank", "trending"]


class Condition(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"in_": "in", "not_": "not"},
    omit_defaults=True,
):
    """What an attribute must be; several at once must all hold.

    `in` is one of these; `not` is none of these; `min` and `max` include the bound and suit numbers
    and times (ISO 8601 or epoch seconds); `any` and `all` suit tags.
    """

    in_: list[FilterValue] | None = None
    not_: FilterValue | list[FilterValue] | None = None
    min: FilterValue | None = None
    max: FilterValue | None = None
    any: list[FilterValue] | None = None
    all: list[FilterValue] | None = None


Filters = dict[Identifier, FilterValue | list[FilterValue] | Condition]


class HistoryEvent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One interaction of the customer. Without a time, its place in the list is its age."""

    product_id: Identifier
    event: Identifier = DEFAULT_EVENT
    timestamp: datetime | None = None


class Promotion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A guaranteed `share` of the slots, counted from the top, for products that pass `where`."""

    share: Share
    where: Filters


class Diversity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Either `at_most` products for each value of `attribute`, or a trade-off `weight` from 0 (by
    score alone) to 1 (as unlike as can be, by `attribute` or by the neighbours they share)."""

    attribute: Identifier | None = None
    at_most: Annotated[int, Meta(ge=1)] | None = None
    weight: Share | None = None


class Exploration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Each slot is, with probability `share`, drawn evenly from the best `pool` new products.

    New is either what passes `where` or what became available within `newer_than_days` (30).
    """

    share: Share
    where: Filters = {}
    newer_than_days: Annotated[float, Meta(gt=0)] | None = None
    pool: Annotated[int, Meta(ge=1, le=1000)] = 50


class ProductRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ask for products. `history` is oldest first; `now` is for replays.

    `decision` is what to answer: `next-best-product` for a history, a product page
    (`context_product`) or a basket (`context_products`); `similar` to `product`; `rank` the given
    `products` for the history; `trending`. The same `decision_id` makes the same draws.
    """

    decision: Decision = "next-best-product"
    decision_id: Identifier | None = None
    customer_id: Identifier | None = None
    history: Annotated[list[Identifier | HistoryEvent], Meta(max_length=MAX_HISTORY)] = []
    event_weights: dict[Identifier, Annotated[float, Meta(ge=0)]] = {}
    limit: Annotated[int, Meta(ge=1, le=100)] | None = None
    product: Identifier | None = None
    products: Annotated[list[Identifier], Meta(max_length=1000)] = []
    context_product: Identifier | None = None
    context_products: Annotated[list[Identifier], Meta(max_length=100)] = []
    include: Filters = {}
    exclude: Filters = {}
    include_products: Annotated[list[Identifier], Meta(max_length=10_000)] | None = None
    exclude_products: Annotated[list[Identifier], Meta(max_length=10_000)] = []
    include_unavailable: bool = False
    exclude_purchased: bool = False
    exclude_seen: bool | None = None
    repeat_after_days: Annotated[float, Meta(ge=0)] | None = None
    buy_again: bool = False
    promote: Promotion | None = None
    diversity: Diversity | None = None
    explore: Exploration | None = None
    minimum_score: float | None = None
    fallback: Literal["trend", "none"] = "trend"
    now: datetime | None = None


class Reason(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A part of a score. `kind`: history, context, similar, repeat, trend or other."""

    kind: str
    contribution: float
    product_id: str | None = None
    title: str | None = None


class ProductAnswer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A recommended product; the contributions of its reasons sum to its score.

    `propensity` is the probability that this product took this slot, given the slots above.
    """

    product_id: str
    score: float
    reasons: list[Reason]
    propensity: float
    title: str | None = None
    promoted: bool = False
    explored: bool = False
    fallback: bool = False


class Recommendation(msgspec.Struct, frozen=True):
    """The core's answer, before the handler adds who answered."""

    products: list[ProductAnswer]
    unknown_products: list[str]
    fallback: str | None
    empty_reason: str | None


class ProductResponse(msgspec.Struct, frozen=True):
    """What the caller gets. `history_from`: where the history was found, null where there was none.
    `logged`: whether the decision is on its way to the archive; false where it waits in the
    function to be sent, null where it is not to be, as a replay."""

    decision_id: str
    decision: str
    model_version: str
    run: str
    tenant: str
    products: list[ProductAnswer]
    unknown_products: list[str]
    fallback: str | None
    empty_reason: str | None
    history_from: Literal["request", "profile"] | None = None
    degraded: bool = False
    logged: bool | None = None


_product_decoder = msgspec.json.Decoder(ProductRequest)


def decode_request(request: Any) -> ProductRequest:
    """A request for products. Raises `BadRequestError`, also for fields that do not go together."""
    return checked(decode(request, _product_decoder))


_SUITS: dict[str, tuple[Decision, ...]] = {
    "product": ("similar",),
    "products": ("rank",),
    "context_product": ("next-best-product",),
    "context_products": ("next-best-product",),
    "event_weights": ("next-best-product", "rank"),
    "buy_again": ("next-best-product",),
    "fallback": ("next-best-product",),
}
_NEEDS = {"similar": "product", "rank": "products"}


def checked(request: ProductRequest) -> ProductRequest:
    """The request, if its fields go together; no field is taken and then ignored.

    Raises `BadRequestError` with the field's path.
    """
    defaults = ProductRequest()
    for name, decisions in _SUITS.items():
        if request.decision not in decisions and getattr(request, name) != getattr(defaults, name):
            raise BadRequestError(
                f"belongs to the decision {' or '.join(decisions)}, not {request.decision}",
                path=f"$.{name}",
            )
    needed = _NEEDS.get(request.decision)
    if needed is not None and not getattr(request, needed):
        raise BadRequestError(f"the decision {request.decision} needs it", path=f"$.{needed}")
    if request.buy_again and (request.exclude_purchased or request.exclude_seen):
        raise BadRequestError("contradicts the exclusion of what was bought", path="$.buy_again")
    if request.diversity is not None:
        _check_diversity(request.diversity)
    if request.explore is not None:
        _check_exploration(request.explore)
    check_ids(request, "customer_id", "product", "context_product")
    _check_numbers(request)
    return request


def _check_numbers(request: ProductRequest) -> None:
    explore, diversity = request.explore, request.diversity
    numbers = {
        "minimum_score": request.minimum_score,
        "repeat_after_days": request.repeat_after_days,
        "explore.newer_than_days": explore.newer_than_days if explore else None,
        "diversity.weight": diversity.weight if diversity else None,
    }
    check_finite(numbers, "$")
    check_finite(request.event_weights, "$.event_weights")


def _check_diversity(diversity: Diversity) -> None:
    if diversity.at_most is None and diversity.weight is None:
        raise BadRequestError("needs at_most or weight", path="$.diversity")
    if diversity.at_most is not None and diversity.attribute is None:
        raise BadRequestError("at_most needs an attribute to count by", path="$.diversity")


def _check_exploration(explore: Exploration) -> None:
    if explore.where and explore.newer_than_days is not None:
        raise BadRequestError(
            "where says already which products are new; leave one of the two out",
            path="$.explore.newer_than_days",
        )
