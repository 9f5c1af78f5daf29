"""A request that breaks its contract is told where and why."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest

from inference.contracts import (
    MAX_HISTORY,
    HistoryEvent,
    ProductRequest,
    decode_request,
)
from inference.decoding import error_answer
from inference.errors import BadRequestError
from inference.nudge_contracts import decode_nudge_request
from inference.visual_contracts import decode_similar_request

BAD = {
    "unknown field": ({"limitt": 3}, "$", "limitt"),
    "unknown field of an event": (
        {"history": [{"product_id": "a", "colour": "red"}]},
        "$.history[0]",
        "colour",
    ),
    "event without a product": ({"history": ["a", {}]}, "$.history[1]", "product_id"),
    "empty product": ({"history": ["a", ""]}, "$.history[1]", "length >= 1"),
    "long product": ({"history": ["a" * 257]}, "$.history[0]", "length <= 256"),
    "number as a product": ({"history": [7]}, "$.history[0]", "got `int`"),
    "history too long": ({"history": ["a"] * (MAX_HISTORY + 1)}, "$.history", "length <= 1000"),
    "limit of zero": ({"limit": 0}, "$.limit", ">= 1"),
    "limit of 101": ({"limit": 101}, "$.limit", "<= 100"),
    "limit as text": ({"limit": "ten"}, "$.limit", "got `str`"),
    "limit with a fraction": ({"limit": 1.5}, "$.limit", "got `float`"),
    "too many excluded": (
        {"exclude_products": ["a"] * 10_001},
        "$.exclude_products",
        "length <= 10000",
    ),
    "filter of null": ({"include": {"colour": None}}, "$.include[...]", "got `null`"),
    "filter of an unknown kind": (
        {"exclude": {"colour": {"a": 1}}},
        "$.exclude[...]",
        "unknown field `a`",
    ),
    "empty customer": ({"customer_id": ""}, "$.customer_id", "length >= 1"),
    "no time": (
        {"history": [{"product_id": "a", "timestamp": "tomorrow"}]},
        "$.history[0].timestamp",
        "RFC3339",
    ),
    "no flag": ({"exclude_purchased": "yes"}, "$.exclude_purchased", "got `str`"),
    "a list": ([], "$", "got `array`"),
    "nothing": (None, "$", "got `null`"),
}


@pytest.mark.parametrize("encode", [lambda v: v, json.dumps, lambda v: json.dumps(v).encode()])
@pytest.mark.parametrize(("request_", "path", "message"), BAD.values(), ids=BAD)
def test_an_error_names_the_path(request_: Any, path: str, message: str, encode: Any) -> None:
    with pytest.raises(BadRequestError, match=re.escape(message)) as caught:
        decode_request(encode(request_))
    assert caught.value.path == path


@pytest.mark.parametrize(
    "garbage", [b"", "", b"{", "not json", b"\x00\xff\xfe", b'{"customer_id": "\xff"}', "{} {}"]
)
def test_garbage_is_a_bad_request(garbage: bytes | str) -> None:
    with pytest.raises(BadRequestError, match="not valid JSON") as caught:
        decode_request(garbage)
    assert caught.value.path == "$"


@pytest.mark.parametrize("deep", ["[" * 100_000, '{"history":' * 50_000])
def test_deep_nesting_is_a_bad_request(deep: str) -> None:
    with pytest.raises(BadRequestError):
        decode_request(deep)


@pytest.mark.parametrize(
    ("decoder", "request_", "path"),
    [
        (decode_request, {"customer_id": "\ud800"}, "$.customer_id"),
        (decode_request, {"decision_id": "d\udfff"}, "$.decision_id"),
        (decode_request, {"history": ["p", {"product_id": "\ud800"}]}, "$.history[1].product_id"),
        (decode_request, {"event_weights": {"\ud800": 1}}, "$.event_weights"),
        (decode_request, {"\ud800": 1}, "$"),
        (decode_request, "\ud800", "$"),
        (decode_nudge_request, {"customer_id": "c", "decision_key": "\ud800"}, "$.decision_key"),
        (decode_nudge_request, {"customer_id": "c", "context": {"a": "\ud800"}}, "$.context.a"),
        (decode_similar_request, {"product": "\ud800"}, "$.product"),
    ],
)
def test_half_a_surrogate_pair_is_a_bad_request(decoder: Any, request_: Any, path: str) -> None:
    """Regression: an answer or a hash failed on it, and the function with them."""
    with pytest.raises(BadRequestError) as caught:
        decoder(request_)
    assert caught.value.path == path
    assert json.dumps(error_answer(caught.value), ensure_ascii=False).encode()


@pytest.mark.parametrize(
    ("decoder", "request_", "path"),
    [
        (decode_request, {"customer_id": " c-1"}, "$.customer_id"),
        (decode_request, {"decision": "similar", "product": "p "}, "$.product"),
        (decode_request, {"context_product": "p\n"}, "$.context_product"),
        (decode_nudge_request, {"customer_id": "c-1\t"}, "$.customer_id"),
        (decode_nudge_request, {"customer_id": "c-1", "decision_key": " "}, "$.decision_key"),
        (decode_similar_request, {"product": " p"}, "$.product"),
    ],
)
def test_an_id_with_blanks_around_it_is_refused(decoder: Any, request_: Any, path: str) -> None:
    """Regression: an erasure of "c-1" would have left what is known of " c-1"."""
    with pytest.raises(BadRequestError, match="without blanks") as caught:
        decoder(request_)
    assert caught.value.path == path


def test_values_on_the_limits_are_taken() -> None:
    request = decode_request({"history": ["a" * 256] * MAX_HISTORY, "limit": 100})
    assert (len(request.history), request.limit) == (MAX_HISTORY, 100)
    assert decode_request({"limit": 1}).limit == 1


def test_the_empty_request_has_the_documented_defaults() -> None:
    request = decode_request(b"{}")
    assert (request.limit, request.history, request.exclude_purchased) == (None, [], False)


def test_an_event_without_a_kind_is_a_purchase() -> None:
    (event,) = decode_request({"history": [{"product_id": "a"}]}).history
    assert event == HistoryEvent("a", event="purchase", timestamp=None)


def test_the_answer_to_a_bad_request_carries_path_and_message() -> None:
    answer = error_answer(BadRequestError("too much", path="$.limit"))
    assert answer == {
        "error": {
            "status": 400,
            "code": "BadRequestError",
            "path": "$.limit",
            "message": "too much",
        }
    }


def test_the_schema_of_a_request_is_strict_and_names_every_field() -> None:
    _, schemas = msgspec.json.schema_components((ProductRequest,))
    schema = schemas["ProductRequest"]
    assert schema["additionalProperties"] is False
    assert {"history", "limit", "include", "exclude", "context_product"} <= set(
        schema["properties"]
    )
