"""Every kind of event has a table, and every field of it a column."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any, get_args

import msgspec
import pytest
from pyarrow import parquet as files

from inference.archive import parquet
from inference.archive_tables import TABLES
from inference.event_contracts import AnyEvent, decode_event
from inference.event_rows import TABLE_OF, rows_of

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEAD = {
    "schema_version": 1,
    "event_id": "e-1",
    "tenant": "acme",
    "customer_id": "c-1",
    "timestamp": "2026-03-01T21:00:00+09:00",
}


def row(**fields: Any) -> tuple[str, dict[str, Any]]:
    """The table, and the row as it reads back."""
    event = decode_event(json.dumps({**HEAD, **fields}), now=NOON)
    [(tenant, tables)] = rows_of([event]).items()
    [(table, rows)] = tables.items()
    assert tenant == "acme"
    [found] = files.read_table(io.BytesIO(parquet(rows, table=table))).to_pylist()
    return table, {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize("kind", get_args(AnyEvent))
def test_every_kind_of_event_has_a_table_with_its_fields(kind: type[msgspec.Struct]) -> None:
    table = TABLES[TABLE_OF[str(kind.__struct_config__.tag)]]
    assert set(kind.__struct_fields__) - {"schema_version", "tenant"} <= set(table.columns)


def test_a_row_is_the_event_in_utc() -> None:
    table, found = row(type="interaction", product_id="lamp", event="view")
    assert table == "interactions"
    assert found == {
        "event_id": "e-1",
        "timestamp": NOON,
        "customer_id": "c-1",
        "product_id": "lamp",
        "event": "view",
    }


@pytest.mark.parametrize(
    ("fields", "column"),
    [
        ({"type": "consent", "channel": "email", "granted": True}, "granted"),
        ({"type": "consent", "channel": "email", "granted": {"b": True, "a": False}}, "granted"),
        ({"type": "customer", "attributes": {"city": "Oslo", "age": None}}, "attributes"),
    ],
)
def test_what_is_free_vocabulary_is_json(fields: dict[str, Any], column: str) -> None:
    _, found = row(**fields)
    assert json.loads(found[column]) == fields[column]
