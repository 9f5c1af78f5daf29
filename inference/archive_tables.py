"""The columns of the archive's tables, as plain data. Read by whatever writes or reads one.

`text` that holds JSON is free vocabulary: a column a key would make every file a schema of its own.
A nested column is a list of rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Columns = Mapping[str, "str | Mapping[str, str]"]

_EVENT = {"event_id": "text", "timestamp": "time"}
_SLOTS = {
    "product_id": "text",
    "score": "number",
    "propensity": "number",
    "explored": "flag",
    "promoted": "flag",
}


@dataclass(frozen=True)
class ArchiveTable:
    """`identity` is what readers deduplicate by, `time` what says the day; both are required."""

    columns: Columns
    identity: str = "event_id"
    time: str = "timestamp"


TABLES: Mapping[str, ArchiveTable] = {
    "interactions": ArchiveTable(
        {
            **_EVENT,
            "customer_id": "text",
            "product_id": "text",
            "event": "text",
            "value": "number",
            "quantity": "number",
            "session_id": "text",
        }
    ),
    "rewards": ArchiveTable(
        {
            **_EVENT,
            "decision_id": "text",
            "customer_id": "text",
            "action": "text",
            "reward": "number",
            "value": "number",
        }
    ),
    # `granted` is JSON: true, false, or true and false by purpose.
    "consents": ArchiveTable(
        {**_EVENT, "customer_id": "text", "channel": "text", "granted": "text"}
    ),
    "products": ArchiveTable(
        {
            **_EVENT,
            "product_id": "text",
            "available": "flag",
            "price": "number",
            "attributes": "text",
        }
    ),
    "customers": ArchiveTable({**_EVENT, "customer_id": "text", "attributes": "text"}),
    "erasures": ArchiveTable({**_EVENT, "customer_id": "text"}),
    "decisions": ArchiveTable(
        {
            "decision_id": "text",
            "at": "time",
            "decision": "text",
            "customer_id": "text",
            "model_version": "text",
            "run": "text",
            "slots": _SLOTS,
            "action": "text",
            "propensity": "number",
            "eligible": {"action": "text", "propensity": "number"},
            "exclusions": {"action": "text", "reason": "text"},
            "holdout": "flag",
            "context": "text",
            "request": "text",
            "degraded": "flag",
        },
        identity="decision_id",
        time="at",
    ),
}
# What data sets are made of; consents are in the profiles alone.
SYNCED = ("interactions", "rewards", "products", "customers", "erasures", "decisions")
