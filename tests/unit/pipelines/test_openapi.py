"""The OpenAPI document is the contracts', complete, and its examples are good requests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inference.contracts import ProductAnswer, ProductRequest, ProductResponse, decode_request
from inference.nudge_contracts import decode_nudge_request
from inference.visual_contracts import SimilarRequest, decode_similar_request
from pipelines import openapi

ROOT = Path(__file__).resolve().parents[3]


def test_the_file_is_current() -> None:
    found = (ROOT / openapi.DEFAULT_FILE).read_text(encoding="utf-8")
    assert found == openapi.as_json(), "run: python -m pipelines.openapi"


@pytest.mark.parametrize("name", openapi.EXAMPLES)
def test_every_example_is_a_good_request(name: str) -> None:
    example = openapi.EXAMPLES[name][1]
    request, default = decode_request(json.dumps(example)), ProductRequest()
    taken = {key for key in example if getattr(request, key) != getattr(default, key)}
    assert taken >= set(example) - {"decision"}


@pytest.mark.parametrize("name", openapi.NUDGE_EXAMPLES)
def test_every_example_of_a_nudge_is_a_good_request(name: str) -> None:
    example = openapi.NUDGE_EXAMPLES[name][1]
    assert decode_nudge_request(json.dumps(example)).customer_id == example["customer_id"]


@pytest.mark.parametrize("name", openapi.SIMILAR_EXAMPLES)
def test_every_example_of_look_alikes_is_a_good_request(name: str) -> None:
    example = openapi.SIMILAR_EXAMPLES[name][1]
    request = decode_similar_request(json.dumps(example))
    assert all(getattr(request, key) for key in example)


def test_every_reference_leads_somewhere() -> None:
    document = openapi.document()

    def references(node: Any) -> set[str]:
        if isinstance(node, dict):
            own = {node["$ref"]} if "$ref" in node else set()
            return own.union(*(references(value) for value in node.values()))
        return (
            set().union(*(references(value) for value in node)) if isinstance(node, list) else set()
        )

    for reference in references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


@pytest.mark.parametrize("struct", [ProductRequest, ProductAnswer, ProductResponse, SimilarRequest])
def test_the_guide_names_every_field(struct: type[msgspec.Struct]) -> None:
    text = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    first_cells = " ".join(re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE))
    named = set(re.findall(r"`([a-z_]+)`", first_cells))
    assert {field.encode_name for field in msgspec.structs.fields(struct)} <= named
