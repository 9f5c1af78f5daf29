"""What is typed becomes a request that the contract takes; what is not understood is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inference.contracts import decode_request
from pipelines import decision_requests as requests
from pipelines.commands.decide import _notes, _print, render_products
from pipelines.console import console, errors
from pipelines.errors import DecisionError


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["category=Lamps", "category=Rugs"], {"category": ["Lamps", "Rugs"]}),
        (["price>=2.5", "price<=20"], {"price": {"min": 2.5, "max": 20}}),
        (["size=40"], {"size": ["40", 40]}),
        (["brand!=Acme", "brand=A=B"], {"brand": {"not": ["Acme"], "in": ["A=B"]}}),
        (["available_from>=2026-01-01"], {"available_from": {"min": "2026-01-01"}}),
    ],
)
def test_filters_are_what_the_contract_takes(texts: list[str], expected: dict[str, Any]) -> None:
    assert requests.filters(texts) == expected
    decode_request({"include": expected})


def test_promotions_quotas_and_weights() -> None:
    assert requests.promotion("0.3:brand=Acme") == {"share": 0.3, "where": {"brand": ["Acme"]}}
    assert requests.quota("brand=2") == {"attribute": "brand", "at_most": 2}
    assert requests.weights(["view=0.2"]) == {"view": 0.2}
    assert requests.split(" A, B,,C ") == ["A", "B", "C"]


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (lambda text: requests.filters([text]), "category"),
        (requests.promotion, "brand=Acme"),
        (requests.promotion, "0.3"),
        (requests.quota, "brand"),
        (requests.quota, "brand=few"),
        (lambda text: requests.weights([text]), "view"),
        (requests.from_json, "{"),
        (requests.from_json, "[]"),
        (requests.from_json, "@/no/such/file"),
    ],
)
def test_what_is_not_understood_is_named(parse: Any, text: str) -> None:
    with pytest.raises(DecisionError, match=r".") as caught:
        parse(text)
    assert text.lstrip("@") in str(caught.value)


def test_a_request_may_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "request.json"
    path.write_text(json.dumps({"limit": 3}))
    assert requests.from_json(f"@{path}") == {"limit": 3}
    assert requests.given({"limit": 3, "history": [], "buy_again": False, "product": None}) == {
        "limit": 3
    }


def test_reasons_read_as_sentences_with_titles_and_marks() -> None:
    reasons = [
        {"kind": "repeat", "contribution": 0.3, "product_id": "m", "title": "Mug"},
        {"kind": "history", "contribution": 0.2, "product_id": "t", "title": "Teapot"},
        {"kind": "context", "contribution": 0.1, "product_id": "s"},
        {"kind": "trend", "contribution": 0.01},
    ]
    product = {"product_id": "m", "title": "Mug", "score": 0.61, "reasons": reasons}
    marked = {**product, "promoted": True, "propensity": 0.25}
    table = render_products({"products": [product, marked]})
    plain, with_marks = list(table.columns[3].cells)
    assert plain == "Mug again +0.300, Teapot +0.200, goes with s +0.100"
    assert with_marks == f"promoted, chance 0.250, {plain}"


def test_notes_say_who_answered_and_what_was_odd() -> None:
    answer = {
        "model_version": "7",
        "run": "r",
        "unknown_products": ["x"],
        "fallback": "trend",
        "products": [],
        "empty_reason": "because",
    }
    assert _notes(answer) == [
        "model version 7, run r",
        "unknown to the model: x",
        "fallback: trend",
        "no products: because",
    ]


def test_a_customer_of_whom_nothing_is_known_is_told_of() -> None:
    answer = {"model_version": "7", "run": "r", "products": [{}], "history_from": None}
    said = "no history: events fill the profile of c-1, imports do not"
    assert said in _notes(answer, customer="c-1")
    assert said not in _notes(answer)
    for other in ({"history_from": "profile"}, {"degraded": True}):
        assert said not in _notes({**answer, **other}, customer="c-1")


def test_of_two_bounds_the_tighter_holds() -> None:
    assert requests.filters(["price>=30", "price>=0", "price<=90", "price<=50"]) == {
        "price": {"min": 30, "max": 50}
    }


def test_a_number_may_have_an_exponent() -> None:
    assert requests.weights(["purchase=1e-3"]) == {"purchase": 0.001}


def test_a_superscript_is_no_number() -> None:
    with pytest.raises(DecisionError, match="no quota"):
        requests.quota("category=²")


def test_names_that_look_like_markup_are_printed_as_they_are() -> None:
    """Regression: an unknown product `[/x]` ended `decide` in a traceback."""
    product = {"product_id": "[/x]", "title": "[red]Lamp", "score": 1.0, "reasons": []}
    answer = {"products": [product], "unknown_products": ["[/y]"], "model_version": "1", "run": "r"}
    refused = {"error": {"code": "BadRequestError", "path": "$.[/z]", "message": "[/z]"}}
    with console.capture() as shown, errors.capture() as told:
        _print(answer)
        _print(refused)
    assert all(name in shown.get() for name in ("[/x]", "[red]Lamp", "[/y]"))
    assert told.get() == "BadRequestError at $.[/z]: [/z]\n"
