"""The OpenAPI document is the contracts', complete, and its examples are good requests."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from inference.contracts import ProductAnswer, ProductRequest, ProductResponse, decode_request
from inference.event_stream import EventStream
from inference.intake import Intake
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


@pytest.mark.parametrize("name", openapi.EVENT_EXAMPLES)
def test_every_example_of_events_is_taken(name: str) -> None:
    intake = Intake("acme", EventStream("events", Taking()))
    answer = intake.answer(json.dumps(openapi.EVENT_EXAMPLES[name][1]), now=datetime.now(UTC))
    assert (answer["accepted"] > 0, answer["rejected"]) == (True, [])


class Taking:
    """A stream that takes everything."""

    def put_records(self, **given: Any) -> dict[str, Any]:
        return {"Records": [{} for _ in given["Records"]]}


def test_events_are_sent_without_a_tenant() -> None:
    schemas = openapi.document()["components"]["schemas"]
    assert len(openapi.EVENT_NAMES) == 6
    for name in openapi.EVENT_NAMES:
        assert "tenant" not in schemas[name]["properties"]
        assert {"type", "schema_version", "timestamp"} <= set(schemas[name]["required"])
        assert "event_id" in schemas[name]["properties"]


def test_the_paths_are_the_routes_of_the_template() -> None:
    template = (ROOT / "pipelines" / "stacks" / "tenant.yaml").read_text(encoding="utf-8")
    routes = set(re.findall(r"RouteKey: POST (\S+)", template))
    scopes = re.findall(r"AuthorizationScopes: \[(\S+)\]", template)
    assert routes == set(openapi.document()["paths"])
    assert len(scopes) == len(routes)


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
