"""The HTTP API as an OpenAPI 3.1 document, generated from the contracts that the Lambdas check.

`python -m pipelines.openapi [FILE]` writes it (default: docs/openapi.json); a test holds the file
to the code.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

import msgspec

from inference.contracts import ProductRequest, ProductResponse
from inference.event_contracts import AnyEvent
from inference.intake import MAX_EVENTS, EventsRequest, EventsResponse
from inference.nudge_contracts import NudgeRequest, NudgeResponse
from inference.visual_contracts import SimilarRequest, SimilarResponse

DEFAULT_FILE = Path("docs/openapi.json")
PATH, NUDGE_PATH, SIMILAR_PATH = (
    f"/v1/decisions/{decision}" for decision in ("next-best-product", "nudge", "similar-products")
)
EVENTS_PATH = "/v1/events"
EVENT_NAMES = [event.__name__ for event in get_args(AnyEvent)]
Examples = dict[str, tuple[str, dict[str, Any]]]

EXAMPLES: Examples = {
    "history": (
        "The next best products for a customer",
        {
            "history": [
                "lamp-1",
                {"product_id": "rug-2", "event": "view", "timestamp": "2026-11-20T09:30:00Z"},
            ],
            "event_weights": {"view": 0.2},
            "repeat_after_days": 30,
            "limit": 5,
        },
    ),
    "product page": ("What goes with the product being looked at", {"context_product": "lamp-1"}),
    "basket": ("What goes with a basket", {"context_products": ["lamp-1", "bulb-7"]}),
    "buy again": ("Only what was bought before", {"history": ["coffee-1"], "buy_again": True}),
    "similar": ("Products like a product", {"decision": "similar", "product": "lamp-1"}),
    "rank": (
        "A search result in this customer's order",
        {"decision": "rank", "products": ["rug-2", "lamp-3"], "history": ["lamp-1"]},
    ),
    "trending": ("What is popular now", {"decision": "trending", "limit": 20}),
    "filters": (
        "Filters on any attribute",
        {
            "include": {
                "category": ["Lamps", "Rugs"],
                "price": {"min": 10, "max": 50},
                "tags": {"any": ["oak", "linen"], "not": ["outlet"]},
                "available_from": {"min": "2026-09-01T00:00:00Z"},
            },
            "exclude": {"brand": "Acme"},
            "exclude_products": ["lamp-9"],
        },
    ),
    "merchandising": (
        "A promotion, a quota, exploration of new products, a minimum score",
        {
            "history": ["lamp-1"],
            "promote": {"share": 0.2, "where": {"brand": "Own brand"}},
            "diversity": {"attribute": "category", "at_most": 3},
            "explore": {"share": 0.1, "newer_than_days": 14},
            "minimum_score": 0.05,
            "decision_id": "mail-2026-48-customer-17",
        },
    ),
}
NUDGE_EXAMPLES: Examples = {
    "known": (
        "A customer that the profile store knows",
        {"customer_id": "c-17", "context": {"recency": 3, "channel": "web"}},
    ),
    "told": (
        "Everything in the request; the same key gets the same answer",
        {
            "customer_id": "c-17",
            "context": {"recency": 3},
            "actions": ["email", "push"],
            "time_zone": "Europe/Paris",
            "profile": {"consents": {"email": True, "push": {"offers": True}}},
            "decision_key": "checkout-9913",
        },
    ),
}
SIMILAR_EXAMPLES: Examples = {
    "product": ("What looks like a product", {"product": "lamp-1", "limit": 5}),
    "picture": (
        "What looks like a picture in the bucket",
        {"image_key": "tenants/acme/pictures/photo.jpg", "include": {"price": {"max": 50}}},
    ),
}
_HEAD = {"schema_version": 1, "timestamp": "2026-11-20T09:30:00Z"}
EVENT_EXAMPLES: Examples = {
    "view": (
        "A customer looked at a product",
        {
            **_HEAD,
            "type": "interaction",
            "customer_id": "c-17",
            "product_id": "lamp-1",
            "event": "view",
        },
    ),
    "several": (
        "What a nudge brought, and a product that is sold out",
        {
            "events": [
                {**_HEAD, "type": "reward", "decision_id": "8f1c", "reward": 1, "value": 49.9},
                {**_HEAD, "type": "product", "product_id": "lamp-1", "available": False},
            ]
        },
    ),
}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["status", "code", "path", "message"],
            "properties": {
                "status": {"type": "integer"},
                "code": {"type": "string", "description": "BadRequestError, or StreamError: again"},
                "path": {"type": "string", "description": "Where, as a JSON path: $.limit"},
                "message": {"type": "string"},
            },
        }
    },
}


def document() -> dict[str, Any]:
    """The whole document."""
    _, components = msgspec.json.schema_components(
        (
            *(ProductRequest, ProductResponse),
            *(NudgeRequest, NudgeResponse),
            *(SimilarRequest, SimilarResponse),
            *(EventsRequest, EventsResponse, AnyEvent),
        ),
        ref_template="#/components/schemas/{name}",
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "nextbest",
            "version": "1",
            "description": "A tenant's HTTP API, whose bodies are the payloads of its Lambdas as "
            "well. docs/decisions.md, nudges.md and events.md explain every field.",
        },
        "paths": {path: {"post": operation} for path, operation in _operations().items()},
        "components": {
            "schemas": {**components, **_events_as_sent(components), "BadRequest": _ERROR},
            "securitySchemes": {"token": _token()},
        },
    }


def _events_as_sent(components: dict[str, Any]) -> dict[str, Any]:
    """The events' schemas without the tenant, which is the API's; an `event_id` may be left out."""
    found = {}
    for name in EVENT_NAMES:
        schema = components[name]
        fields = {key: value for key, value in schema["properties"].items() if key != "tenant"}
        needed = [key for key in schema["required"] if key not in ("tenant", "event_id")]
        found[name] = {**schema, "properties": fields, "required": needed}
    events = {"type": "array", "minItems": 1, "maxItems": MAX_EVENTS, "items": _any_event()}
    request = components["EventsRequest"]
    found["EventsRequest"] = {**request, "properties": {"events": events}}
    return found


def _any_event() -> dict[str, Any]:
    return {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in EVENT_NAMES]}


def _token() -> dict[str, Any]:
    """Where the token is had differs by tenant: `nextbest tenant credentials`."""
    scopes = {"nextbest/decide": "Ask for decisions", "nextbest/events": "Send events"}
    url = "https://DOMAIN.auth.REGION.amazoncognito.com/oauth2/token"
    return {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": url, "scopes": scopes}}}


def _operations() -> dict[str, dict[str, Any]]:
    return {
        PATH: _operation(
            "decide",
            "Ask for products: next-best-product, similar, rank or trending",
            "Product",
            EXAMPLES,
            answer="Products with reasons and propensities",
        ),
        NUDGE_PATH: _operation(
            "nudge",
            "Ask for a nudge, or none, for a customer",
            "Nudge",
            NUDGE_EXAMPLES,
            answer="An action with its propensity over the eligible ones",
        ),
        SIMILAR_PATH: _operation(
            "similarProducts",
            "Ask for what looks like a product or a picture",
            "Similar",
            SIMILAR_EXAMPLES,
            answer="Products, nearest first",
        ),
        EVENTS_PATH: _events_operation(),
    }


def _events_operation() -> dict[str, Any]:
    found = _operation(
        "sendEvents",
        "Send one event, or up to 500",
        "Events",
        EVENT_EXAMPLES,
        answer="How many were taken, and why the others were not",
        scope="events",
    )
    content = found["requestBody"]["content"]["application/json"]
    content["schema"] = {"anyOf": [content["schema"], *_any_event()["anyOf"]]}
    found["responses"]["503"] = _response("No event was taken; send them again", "BadRequest")
    return found


def _operation(
    name: str,
    summary: str,
    contract: str,
    examples: Examples,
    *,
    answer: str,
    scope: str = "decide",
) -> dict[str, Any]:
    shown = {title: {"summary": said, "value": value} for title, (said, value) in examples.items()}
    content = {**_schema(f"{contract}Request"), "examples": shown}
    return {
        "operationId": name,
        "summary": summary,
        "security": [{"token": [f"nextbest/{scope}"]}],
        "requestBody": {"required": True, "content": {"application/json": content}},
        "responses": {
            "200": _response(answer, f"{contract}Response"),
            "400": _response("A request that breaks the contract", "BadRequest"),
            "401": {"description": "No token of this tenant's"},
            "403": {"description": "A token without the scope"},
        },
    }


def _response(description: str, name: str) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": _schema(name)}}


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def as_json() -> str:
    return json.dumps(document(), indent=2) + "\n"


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT_FILE
    target.write_text(as_json(), encoding="utf-8")
