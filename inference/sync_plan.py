"""What a sync of a tenant has to read: objects of the archive that no sync has read, and why.

Used by the Lambda `sync` before the job of a scheduled run, and by `nextbest data sync`. No table
is opened here. `inference.sync_commit` comes after.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from inference.archive import folder_of
from inference.archive_tables import SYNCED
from inference.objects import read_object
from inference.suppression_store import suppression_key
from inference.sync_layout import (
    OBJECTS,
    POINTERS,
    Base,
    LastSync,
    dataset_prefix,
    latest_key,
    pointer_key,
    sync_prefix,
)


class SyncPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to read and where to write, as URIs; `due` says why, empty: there is nothing to do.

    `last` is the sync whose rows this one goes on from, empty before the first. `tags` are what S3
    called the objects that a commit replaces; absent: they were not there.
    """

    tenant: str
    bucket: str
    id: str
    now: datetime
    due: str
    new_objects: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    last: str
    bases: dict[str, Base]
    tags: dict[str, str]


class Planned(msgspec.Struct, frozen=True):
    """A plan with what is too long for a state machine: the keys to read, and all there are."""

    plan: SyncPlan
    new: list[str]
    objects: list[str]


def plan_sync(
    s3: Any, bucket: str, tenant: str, *, now: datetime, unique: str, rules: Mapping[str, str]
) -> Planned:
    """Look at the archive and the pointers; writes nothing. `unique` goes into the sync's id.

    `rules` are the strings the job gets; other ones than last time are a reason to sync.
    """
    tags: dict[str, str] = {}
    pointer = _read(s3, bucket, latest_key(tenant), tags)
    last = msgspec.json.decode(pointer, type=LastSync) if pointer is not None else None
    bases = {kind: base for kind in POINTERS if (base := _base(s3, bucket, tenant, kind, tags))}
    suppressed = _read(s3, bucket, suppression_key(tenant), tags)
    objects = sorted(_archived(s3, bucket, tenant))
    known = set(_objects_of(s3, bucket, tenant, last))
    new = [key for key in objects if key not in known]
    identity = f"{now:%Y%m%dt%H%M%S}-{unique}"
    plan = SyncPlan(
        tenant=tenant,
        bucket=bucket,
        id=identity,
        now=now,
        due=_due(last, bases, objects, new, rules=rules, now=now),
        new_objects=len(new),
        inputs=_inputs(bucket, tenant, identity, last, bases, is_suppressed=suppressed is not None),
        outputs={
            "sync": f"s3://{bucket}/{sync_prefix(tenant, identity)}",
            **{k: f"s3://{bucket}/{dataset_prefix(tenant, identity, k)}" for k in POINTERS},
        },
        last=last.id if last else "",
        bases=bases,
        tags=tags,
    )
    return Planned(plan, new, objects)


def write_plan(s3: Any, planned: Planned) -> None:
    """Write what the job reads, and which objects will have been read when it is done."""
    plan = planned.plan
    # A manifest of nothing is refused: the object that holds nothing stands for it.
    manifest = [{"prefix": f"s3://{plan.bucket}/"}, *(planned.new or ["none/none.json"])]
    files = {
        "manifest.json": json.dumps(manifest).encode(),
        "plan.json": plan_file(plan),
        OBJECTS: objects_file(planned),
    }
    for name, content in files.items():
        key = f"{sync_prefix(plan.tenant, plan.id)}/{name}"
        s3.put_object(Bucket=plan.bucket, Key=key, Body=content)


def objects_file(planned: Planned) -> bytes:
    """`objects.json.gz`, which the next plan reads; same objects, same bytes."""
    return gzip.compress(json.dumps(planned.objects).encode(), mtime=0)


def plan_file(plan: SyncPlan) -> bytes:
    """`plan.json`, which the job reads."""
    imported_at = {kind: base.imported_at for kind, base in plan.bases.items()}
    told = {"id": plan.id, "now": plan.now, "last": plan.last, "imported_at": imported_at}
    return msgspec.json.encode(told)


def _due(
    last: LastSync | None,
    bases: Mapping[str, Base],
    objects: list[str],
    new: list[str],
    *,
    rules: Mapping[str, str],
    now: datetime,
) -> str:
    """Why a sync would make something else than the last one did."""
    if last is None:
        return "the first sync" if objects else ""
    if set(new) - set(last.unreadable):
        return "new objects in the archive"
    if last.bases != {kind: base.prefix for kind, base in bases.items()}:
        return "a new import"
    if rules and last.rules != dict(rules):
        return "other rules"
    if last.next_due is not None and now >= last.next_due:
        return "a decision has waited long enough"
    return ""


def _inputs(
    bucket: str,
    tenant: str,
    identity: str,
    last: LastSync | None,
    bases: Mapping[str, Base],
    *,
    is_suppressed: bool,
) -> dict[str, str]:
    """Channel → URI; what is not there is an empty place."""
    own = f"s3://{bucket}/{sync_prefix(tenant, identity)}"
    nothing = f"s3://{bucket}/none/"
    of_bases = {
        kind: f"s3://{bucket}/{bases[kind].prefix}/" if kind in bases else nothing
        for kind in POINTERS
    }
    return {
        "plan": f"{own}/plan.json",
        "archive": f"{own}/manifest.json",
        "last": f"s3://{bucket}/{sync_prefix(tenant, last.id)}/" if last else nothing,
        **of_bases,
        "suppression": f"s3://{bucket}/{suppression_key(tenant)}" if is_suppressed else nothing,
    }


def _read(s3: Any, bucket: str, key: str, tags: dict[str, str]) -> bytes | None:
    """An object's bytes, its tag put into `tags`; None where there is none."""
    found = read_object(s3, bucket, key)
    if found is None:
        return None
    tags[key] = found[1]
    return found[0]


def _base(s3: Any, bucket: str, tenant: str, kind: str, tags: dict[str, str]) -> Base | None:
    """The import that a tenant's newest data set of a kind rests on."""
    body = _read(s3, bucket, pointer_key(tenant, kind), tags)
    if body is None:
        return None
    pointer = json.loads(body)
    if "sync" not in pointer:
        return Base(pointer["prefix"], datetime.fromisoformat(pointer["imported_at"]))
    return msgspec.convert(pointer["base"], Base | None)


def _archived(s3: Any, bucket: str, tenant: str) -> Iterator[str]:
    """The keys of a tenant's archive that a sync reads."""
    pages = s3.get_paginator("list_objects_v2")
    for table in SYNCED:
        for page in pages.paginate(Bucket=bucket, Prefix=f"{folder_of(tenant, table)}/day="):
            keys = (item["Key"] for item in page.get("Contents", []))
            yield from (key for key in keys if key.endswith(".parquet"))


def _objects_of(s3: Any, bucket: str, tenant: str, last: LastSync | None) -> list[str]:
    """The objects whose rows the last sync kept."""
    if last is None:
        return []
    read = read_object(s3, bucket, f"{sync_prefix(tenant, last.id)}/{OBJECTS}")
    found = json.loads(gzip.decompress(read[0])) if read is not None else []
    return sorted(set(found) - set(last.unreadable))
