"""Receipts of erasures: that they were carried out, when, and in how many objects; nothing of whom.

`tenants/<tenant>/erasures/<id>.json`. A customer stands in it as on the tenant's list, as a hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from inference.suppression import Suppression
from pipelines.errors import ErasureError
from pipelines.stage import Stage


class Receipt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`customers` are hashes with the time up to which each was erased. Counts are of the attempt
    that finished, by area of the tenant's prefix: objects rewritten and deleted, rows removed; and
    messages deleted."""

    id: str
    finished_at: datetime
    customers: dict[str, datetime]
    rewritten: dict[str, int] = {}
    deleted: dict[str, int] = {}
    rows: dict[str, int] = {}
    dead_letters: int = 0
    unsent_decisions: int = 0


def receipt_id(finished_at: datetime, customers: Iterable[str]) -> str:
    """`<utc time>-<6 hex>`, sorted by time."""
    digest = hashlib.sha256("".join(sorted(customers)).encode()).hexdigest()[:6]
    return f"{finished_at:%Y%m%dt%H%M%S}-{digest}"


def write_receipt(stage: Stage, tenant: str, receipt: Receipt) -> None:
    key = f"{_prefix(stage, tenant)}{receipt.id}.json"
    body = msgspec.json.format(msgspec.json.encode(receipt), indent=1)
    stage.client("s3").put_object(Bucket=stage.bucket, Key=key, Body=body)


def list_receipts(stage: Stage, tenant: str) -> list[Receipt]:
    """A tenant's receipts, oldest first. Raises `ErasureError` for one that cannot be read."""
    s3: Any = stage.client("s3")
    pages = s3.get_paginator("list_objects_v2")
    found = []
    for page in pages.paginate(Bucket=stage.bucket, Prefix=_prefix(stage, tenant)):
        for item in page.get("Contents", []):
            body = s3.get_object(Bucket=stage.bucket, Key=item["Key"])["Body"].read()
            found.append(_decoded(body, item["Key"]))
    return sorted(found, key=lambda receipt: (receipt.finished_at, receipt.id))


def unfinished(suppression: Suppression, receipts: Iterable[Receipt]) -> dict[str, datetime]:
    """Who is on the list and on no receipt for it yet: hashes with the time up to which."""
    done: dict[str, datetime] = {}
    for receipt in receipts:
        for found, at in receipt.customers.items():
            done[found] = max(done.get(found, at), at)
    return {
        found: at
        for found, at in suppression.erased.items()
        if found not in done or done[found] < at
    }


def _prefix(stage: Stage, tenant: str) -> str:
    return f"{stage.tenant_prefix(tenant)}/erasures/"


def _decoded(body: bytes, key: str) -> Receipt:
    try:
        return msgspec.json.decode(body, type=Receipt)
    except msgspec.MsgspecError as error:
        raise ErasureError(
            f"{key} is no receipt: {error}; delete it, and erase --pending writes another"
        ) from error
