"""What a sync of a tenant has to read, and making what it made the newest. No table is opened here.

A sync is a function of the imported data sets and the archive: `syncs/latest.json` only says where
the last one left the rows it read, and which objects these were. So one that ends half-way is done
again with the same result. Used by the Lambda `sync`, around the job of a scheduled run, and by
`nextbest data sync`.

    tenants/<tenant>/syncs/latest.json      the last one: a pointer, written last
    tenants/<tenant>/syncs/<id>/            plan.json, manifest.json, objects.json.gz; of the job:
                                            sync.json, rows/<table>.parquet, what was left out
    tenants/<tenant>/datasets/<id>-<kind>/  what it made
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec

from inference.archive import folder_of
from inference.errors import NextbestError
from inference.suppression_store import suppression_key

TABLES = ("interactions", "rewards", "products", "customers", "erasures", "decisions")
POINTERS = {"interactions": "latest.json", "nudges": "latest-nudges.json"}
OBJECTS = "objects.json.gz"
KEPT_SYNCS = 2
_GONE = ("NoSuchKey", "404")
# Somebody wrote meanwhile; S3 says 409 while another conditional write goes on.
_CHANGED = ("PreconditionFailed", "ConditionalRequestConflict")


class SyncChangedError(NextbestError):
    """Data sets, or the list of who was erased, that changed while a sync ran: run it again."""


class Base(msgspec.Struct, frozen=True):
    """An imported data set: its key prefix, and when it was imported."""

    prefix: str
    imported_at: datetime


class SyncPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to read and where to write, as URIs; `due` says why, empty: there is nothing to do.

    `tags` are what S3 called the objects that a commit replaces; absent: they were not there.
    """

    tenant: str
    bucket: str
    id: str
    now: datetime
    due: str
    new_objects: int
    inputs: dict[str, str]
    outputs: dict[str, str]
    bases: dict[str, Base]
    tags: dict[str, str]


class Planned(msgspec.Struct, frozen=True):
    """A plan with what is too long for a state machine: the keys to read, and all there are."""

    plan: SyncPlan
    new: list[str]
    objects: list[str]


class _Last(msgspec.Struct, frozen=True):
    """`syncs/latest.json`."""

    id: str
    bases: dict[str, str]
    rules: dict[str, str]
    unreadable: list[str] = []
    next_due: datetime | None = None


def plan_sync(
    s3: Any, bucket: str, tenant: str, *, now: datetime, unique: str, rules: Mapping[str, str]
) -> Planned:
    """Look at the archive and the pointers; writes nothing. `unique` goes into the sync's id.

    `rules` are the strings the job gets; other ones than last time are a reason to sync.
    """
    tags: dict[str, str] = {}
    pointer = _read(s3, bucket, _latest(tenant), tags)
    last = msgspec.json.decode(pointer, type=_Last) if pointer is not None else None
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
            "sync": f"s3://{bucket}/{_prefix(tenant, identity)}",
            **{k: f"s3://{bucket}/{_dataset(tenant, identity, k)}" for k in POINTERS},
        },
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
        key = f"{_prefix(plan.tenant, plan.id)}/{name}"
        s3.put_object(Bucket=plan.bucket, Key=key, Body=content)


def objects_file(planned: Planned) -> bytes:
    """`objects.json.gz`, which the next plan reads; same objects, same bytes."""
    return gzip.compress(json.dumps(planned.objects).encode(), mtime=0)


def plan_file(plan: SyncPlan) -> bytes:
    """`plan.json`, which the job reads."""
    imported_at = {kind: base.imported_at for kind, base in plan.bases.items()}
    return msgspec.json.encode({"id": plan.id, "now": plan.now, "imported_at": imported_at})


def commit_sync(s3: Any, plan: SyncPlan) -> dict[str, Any]:
    """Make what a sync made the newest, its own pointer last; the sync's account.

    Doing it again changes nothing. Raises `SyncChangedError` where somebody imported, synced or
    erased since the plan.
    """
    key = f"{_prefix(plan.tenant, plan.id)}/sync.json"
    account = json.loads(s3.get_object(Bucket=plan.bucket, Key=key)["Body"].read())
    _require_same_suppression(s3, plan)
    for kind in POINTERS:
        if account[kind]["made"]:
            _put(s3, plan, _pointer(plan.tenant, kind), _pointer_body(plan, kind))
    last = _Last(
        id=plan.id,
        bases={kind: base.prefix for kind, base in plan.bases.items()},
        rules=account["rules"],
        unreadable=sorted(account["unreadable"]),
        next_due=account["next_due"],
    )
    _put(s3, plan, _latest(plan.tenant), msgspec.json.encode(last))
    _prune(s3, plan)
    return dict(account)


def _due(
    last: _Last | None,
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
    last: _Last | None,
    bases: Mapping[str, Base],
    *,
    is_suppressed: bool,
) -> dict[str, str]:
    """Channel → URI; what is not there is an empty place."""
    own = f"s3://{bucket}/{_prefix(tenant, identity)}"
    nothing = f"s3://{bucket}/none/"
    of_bases = {
        kind: f"s3://{bucket}/{bases[kind].prefix}/" if kind in bases else nothing
        for kind in POINTERS
    }
    return {
        "plan": f"{own}/plan.json",
        "archive": f"{own}/manifest.json",
        "last": f"s3://{bucket}/{_prefix(tenant, last.id)}/" if last else nothing,
        **of_bases,
        "suppression": f"s3://{bucket}/{suppression_key(tenant)}" if is_suppressed else nothing,
    }


def _base(s3: Any, bucket: str, tenant: str, kind: str, tags: dict[str, str]) -> Base | None:
    """The import that a tenant's newest data set of a kind rests on."""
    body = _read(s3, bucket, _pointer(tenant, kind), tags)
    if body is None:
        return None
    pointer = json.loads(body)
    if "sync" not in pointer:
        return Base(pointer["prefix"], datetime.fromisoformat(pointer["imported_at"]))
    return msgspec.convert(pointer["base"], Base | None)


def _pointer_body(plan: SyncPlan, kind: str) -> bytes:
    prefix = _dataset(plan.tenant, plan.id, kind)
    pointer = {
        "dataset_id": prefix.rpartition("/")[2],
        "prefix": prefix,
        "imported_at": plan.now,
        "sync": plan.id,
        "base": plan.bases.get(kind),
    }
    return msgspec.json.encode(pointer)


def _archived(s3: Any, bucket: str, tenant: str) -> Iterator[str]:
    """The keys of a tenant's archive that a sync reads."""
    pages = s3.get_paginator("list_objects_v2")
    for table in TABLES:
        for page in pages.paginate(Bucket=bucket, Prefix=f"{folder_of(tenant, table)}/day="):
            keys = (item["Key"] for item in page.get("Contents", []))
            yield from (key for key in keys if key.endswith(".parquet"))


def _objects_of(s3: Any, bucket: str, tenant: str, last: _Last | None) -> list[str]:
    """The objects whose rows the last sync kept."""
    if last is None:
        return []
    body = _read(s3, bucket, f"{_prefix(tenant, last.id)}/{OBJECTS}", {})
    found = json.loads(gzip.decompress(body)) if body is not None else []
    return [key for key in found if key not in set(last.unreadable)]


def _require_same_suppression(s3: Any, plan: SyncPlan) -> None:
    key = suppression_key(plan.tenant)
    tags: dict[str, str] = {}
    _read(s3, plan.bucket, key, tags)
    if tags.get(key) != plan.tags.get(key):
        raise SyncChangedError(f"somebody was erased while sync {plan.id} ran; run it again")


def _put(s3: Any, plan: SyncPlan, key: str, body: bytes) -> None:
    """Replace what the plan saw, and nothing else."""
    tag = plan.tags.get(key)
    condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
    try:
        s3.put_object(
            Bucket=plan.bucket, Key=key, Body=body, ContentType="application/json", **condition
        )
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in _CHANGED:
            raise
        if _read(s3, plan.bucket, key, {}) != body:
            raise SyncChangedError(
                f"{key} was written while sync {plan.id} ran; run it again"
            ) from error


def _prune(s3: Any, plan: SyncPlan) -> None:
    """Remove the rows that older syncs kept: they are in the newer ones."""
    root = _prefix(plan.tenant, "")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=plan.bucket, Prefix=root, Delimiter="/"
    )
    found = sorted(one["Prefix"] for page in pages for one in page.get("CommonPrefixes", []))
    older = [prefix for prefix in found if prefix <= f"{root}{plan.id}/"]
    for prefix in older[:-KEPT_SYNCS]:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=plan.bucket, Prefix=prefix):
            keys = [{"Key": item["Key"]} for item in page.get("Contents", [])]
            s3.delete_objects(Bucket=plan.bucket, Delete={"Objects": keys, "Quiet": True})


def _read(s3: Any, bucket: str, key: str, tags: dict[str, str]) -> bytes | None:
    """An object's bytes, its tag put into `tags`; None where there is none."""
    try:
        found = s3.get_object(Bucket=bucket, Key=key)
    except s3.exceptions.ClientError as error:
        if error.response["Error"]["Code"] not in _GONE:
            raise
        return None
    tags[key] = found["ETag"]
    return bytes(found["Body"].read())


def _prefix(tenant: str, identity: str) -> str:
    return f"tenants/{tenant}/syncs/{identity}"


def _latest(tenant: str) -> str:
    return f"{_prefix(tenant, 'latest.json')}"


def _dataset(tenant: str, identity: str, kind: str) -> str:
    return f"tenants/{tenant}/datasets/{identity}-{kind}"


def _pointer(tenant: str, kind: str) -> str:
    return f"tenants/{tenant}/datasets/{POINTERS[kind]}"
