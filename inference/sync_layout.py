"""Where a tenant's syncs are in the bucket.

tenants/<tenant>/syncs/latest.json      the last one: a pointer, written last
tenants/<tenant>/syncs/<id>/            plan.json, manifest.json, objects.json.gz; of the job:
                                        sync.json, rows/<table>.parquet, what was left out
tenants/<tenant>/datasets/<id>-<kind>/  what it made
"""

from __future__ import annotations

from datetime import datetime

import msgspec

POINTERS = {"interactions": "latest.json", "nudges": "latest-nudges.json"}
OBJECTS, ACCOUNT = "objects.json.gz", "sync.json"


class Base(msgspec.Struct, frozen=True):
    """An imported data set: its key prefix, and when it was imported."""

    prefix: str
    imported_at: datetime


class LastSync(msgspec.Struct, frozen=True):
    """`syncs/latest.json`: which sync was the last, on which imports and by which rules."""

    id: str
    bases: dict[str, str]
    rules: dict[str, str]
    unreadable: list[str] = []
    next_due: datetime | None = None


def sync_prefix(tenant: str, identity: str) -> str:
    """Of all that belongs to one sync, without a slash at the end."""
    return f"tenants/{tenant}/syncs/{identity}"


def latest_key(tenant: str) -> str:
    return sync_prefix(tenant, "latest.json")


def dataset_prefix(tenant: str, identity: str, kind: str) -> str:
    return f"tenants/{tenant}/datasets/{identity}-{kind}"


def pointer_key(tenant: str, kind: str) -> str:
    return f"tenants/{tenant}/datasets/{POINTERS[kind]}"
