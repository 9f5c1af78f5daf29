"""Events as rows of the archive. Runs in a Lambda; called by `record-events`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC
from typing import Any

import msgspec

from inference.archive_tables import TABLES
from inference.event_contracts import Event

TABLE_OF = {
    "interaction": "interactions",
    "reward": "rewards",
    "consent": "consents",
    "product": "products",
    "customer": "customers",
    "erasure": "erasures",
}
_NO_COLUMN = ("schema_version", "tenant")  # an object's key says whose it is
_JSON = msgspec.json.Encoder(order="deterministic")
Rows = dict[str, dict[str, list[dict[str, Any]]]]


def rows_of(events: Iterable[Event]) -> Rows:
    """Rows by tenant, then by table, in the events' order."""
    found: Rows = {}
    for event in events:
        table = TABLE_OF[str(event.__struct_config__.tag)]
        found.setdefault(event.tenant, {}).setdefault(table, []).append(_row(event, table))
    return found


def _row(event: Event, table: str) -> dict[str, Any]:
    """Times in UTC; what is no text but stands in a column of text is JSON."""
    columns = TABLES[table].columns
    values = {n: v for n, v in msgspec.structs.asdict(event).items() if n not in _NO_COLUMN}
    values["timestamp"] = event.timestamp.astimezone(UTC)
    return {name: _cell(value, columns.get(name)) for name, value in values.items()}


def _cell(value: Any, kind: Any) -> Any:
    if kind != "text" or value is None or isinstance(value, str):
        return value
    return _JSON.encode(value).decode()
