"""Where a tenant's syncs are in the bucket, and reading one object of them.

tenants/<tenant>/syncs/latest.json      the last one: a pointer, written last
tenants/<tenant>/syncs/<id>/            plan.json, manifest.json, objects.json.gz; of the job:
                                        sync.json, rows/<table>.parquet, what was left out
tenants/<tenant>/datasets/<id>-<kind>/  what it made
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from botocore.exceptions import ClientError

POINTERS = {"interactions": "latest.json", "nudges": "latest-nudges.json"}
OBJECTS, ACCOUNT = "objects.json.gz", "sync.json"
_GONE = ("NoSuchKey", "404")


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


def read_object(s3: Any, bucket: str, key: str, tags: dict[str, str]) -> bytes | None:
    """An object's bytes, its tag put into `tags`; None where there is none."""
    try:
        found = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise
        return None
    tags[key] = found["ETag"]
    return bytes(found["Body"].read())


def sync_prefix(tenant: str, identity: str) -> str:
    """Of all that belongs to one sync, without a slash at the end."""
    return f"tenants/{tenant}/syncs/{identity}"


def latest_key(tenant: str) -> str:
    return sync_prefix(tenant, "latest.json")


def dataset_prefix(tenant: str, identity: str, kind: str) -> str:
    return f"tenants/{tenant}/datasets/{identity}-{kind}"


def pointer_key(tenant: str, kind: str) -> str:
    return f"tenants/{tenant}/datasets/{POINTERS[kind]}"
