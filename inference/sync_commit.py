"""Making what a sync made the newest: pointers, written last and only over what its plan saw.

A sync is a function of the imported data sets and the archive: `syncs/latest.json` only says where
the last one left the rows it read, and which objects these were. So one that ends half-way is done
again with the same result. Used by the Lambda `sync` after the job of a scheduled run, and by
`nextbest data sync`.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from inference.errors import NextbestError
from inference.objects import read_object, replace_object
from inference.suppression_store import suppression_key
from inference.sync_layout import (
    ACCOUNT,
    POINTERS,
    LastSync,
    dataset_prefix,
    latest_key,
    pointer_key,
    sync_prefix,
)
from inference.sync_plan import SyncPlan

KEPT_SYNCS = 2


class SyncChangedError(NextbestError):
    """Data sets, or the list of who was erased, that changed while a sync ran: run it again."""


def commit_sync(s3: Any, plan: SyncPlan) -> dict[str, Any]:
    """Make what a sync made the newest, its own pointer last; the sync's account.

    Doing it again changes nothing. Raises `SyncChangedError` where somebody imported, synced or
    erased since the plan.
    """
    key = f"{sync_prefix(plan.tenant, plan.id)}/{ACCOUNT}"
    account = json.loads(s3.get_object(Bucket=plan.bucket, Key=key)["Body"].read())
    _require_same_suppression(s3, plan)
    for kind in POINTERS:
        if account[kind]["made"]:
            _put(s3, plan, pointer_key(plan.tenant, kind), _pointer_body(plan, kind))
    last = LastSync(
        id=plan.id,
        bases={kind: base.prefix for kind, base in plan.bases.items()},
        rules=account["rules"],
        unreadable=sorted(account["unreadable"]),
        next_due=account["next_due"],
    )
    _put(s3, plan, latest_key(plan.tenant), msgspec.json.encode(last))
    _prune(s3, plan)
    return dict(account)


def _pointer_body(plan: SyncPlan, kind: str) -> bytes:
    prefix = dataset_prefix(plan.tenant, plan.id, kind)
    pointer = {
        "dataset_id": prefix.rpartition("/")[2],
        "prefix": prefix,
        "imported_at": plan.now,
        "sync": plan.id,
        "base": plan.bases.get(kind),
    }
    return msgspec.json.encode(pointer)


def _require_same_suppression(s3: Any, plan: SyncPlan) -> None:
    key = suppression_key(plan.tenant)
    found = read_object(s3, plan.bucket, key)
    if (found and found[1]) != plan.tags.get(key):
        raise SyncChangedError(f"somebody was erased while sync {plan.id} ran; run it again")


def _put(s3: Any, plan: SyncPlan, key: str, body: bytes) -> None:
    """Replace what the plan saw, and nothing else."""
    if replace_object(s3, plan.bucket, key, body, tag=plan.tags.get(key)):
        return
    found = read_object(s3, plan.bucket, key)
    if found is None or found[0] != body:
        raise SyncChangedError(f"{key} was written while sync {plan.id} ran; run it again")


def _prune(s3: Any, plan: SyncPlan) -> None:
    """Remove the rows that older syncs kept: they are in the newer ones."""
    root = sync_prefix(plan.tenant, "")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=plan.bucket, Prefix=root, Delimiter="/"
    )
    found = sorted(one["Prefix"] for page in pages for one in page.get("CommonPrefixes", []))
    older = [prefix for prefix in found if prefix <= f"{root}{plan.id}/"]
    for prefix in older[:-KEPT_SYNCS]:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=plan.bucket, Prefix=prefix):
            keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
            s3.delete_objects(Bucket=plan.bucket, Delete={"Objects": keys, "Quiet": True})
