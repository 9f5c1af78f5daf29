"""What else than tables tells of a customer: messages that wait in queues, and the arrays that runs
prepared.

Prepared arrays hold no ids, but everybody's history by number. Nothing reads them after their run,
so an erasure deletes those of all runs that have ended.
"""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from inference.decision_records import decode_record
from inference.errors import BadRequestError
from inference.suppression import Suppression
from pipelines.erased_objects import listed
from pipelines.errors import ErasureError
from pipelines.events import DeadLetter, letter_of
from pipelines.queues import delete_where, url_of
from pipelines.stage import IMAGE_MODEL, KINDS, Stage

_WORD = re.compile(r"[^\s\"',:;=|{}\[\]()]+")
_A_CALL = 1000  # keys that one call deletes
MACHINES = ("retrain", *(f"train-{kind}" for kind in KINDS))


def running(stage: Stage, tenant: str) -> list[str]:
    """The executions that may be writing what they have read of customers before."""
    client, found = stage.client("stepfunctions"), []
    for machine in MACHINES:
        arn = stage.machine_arn(machine)
        pages = client.get_paginator("list_executions")
        try:
            for page in pages.paginate(stateMachineArn=arn, statusFilter="RUNNING"):
                found += [e["executionArn"] for e in page["executions"]]
        except client.exceptions.StateMachineDoesNotExist:
            continue  # a stage deployed before that machine was there
    inputs = {arn: client.describe_execution(executionArn=arn).get("input") for arn in found}
    theirs = [
        arn for arn, given in inputs.items() if json.loads(given or "{}").get("tenant") == tenant
    ]
    return sorted(arn.rpartition(":")[2] for arn in theirs)


def delete_prepared(stage: Stage, tenant: str, *, but: list[str]) -> int:
    """Delete the prepared arrays of runs that learned from customers; how many objects.

    Raises `ErasureError` where S3 keeps one.
    """
    s3, prefix = stage.client("s3"), f"{stage.tenant_prefix(tenant)}/runs/"
    keys = [
        found.key
        for found in listed(s3, stage.bucket, prefix)
        if _is_prepared(*found.key.removeprefix(prefix).split("/")[:2], but=but)
    ]
    for start in range(0, len(keys), _A_CALL):
        objects = [{"Key": key} for key in keys[start : start + _A_CALL]]
        wanted = {"Objects": objects, "Quiet": True}
        kept = s3.delete_objects(Bucket=stage.bucket, Delete=wanted).get("Errors")
        if kept:
            raise ErasureError(
                f"{kept[0]['Key']} and {len(kept) - 1} more objects cannot be deleted: "
                f"{kept[0].get('Message', kept[0].get('Code'))}. When they can be, run nextbest "
                "customers erase --pending"
            )
    return len(keys)


def _is_prepared(run: str, folder: str = "", *, but: list[str]) -> bool:
    return folder == "prepared" and run not in but and not run.startswith(f"{IMAGE_MODEL}-")


def delete_letters(stage: Stage, tenant: str, suppression: Suppression) -> int:
    """Delete the dead letters of who was erased; how many.

    A letter that is only a place on the stream stays: the stream forgets within its seven days, and
    what is replayed from it is not kept.
    """
    sqs = stage.client("sqs")
    return delete_where(
        sqs,
        url_of(sqs, stage.dead_letters),
        lambda message: _is_theirs(letter_of(message), tenant, suppression),
    )


def delete_unsent(stage: Stage, tenant: str, suppression: Suppression) -> int:
    """Delete the decisions for who was erased that wait in the queue, if `record-decisions` is not
    there to take them; how many."""
    sqs = stage.client("sqs")
    return delete_where(
        sqs,
        url_of(sqs, stage.unsent_decisions),
        lambda message: _is_for(message["Body"].encode(), tenant, suppression),
    )


def _is_for(line: bytes, tenant: str, suppression: Suppression) -> bool:
    """What is no decision is `record-decisions`' to bury."""
    try:
        record = decode_record(line)
    except BadRequestError:
        return False
    if record.tenant != tenant or not record.customer_id:
        return False
    return suppression.suppresses(record.customer_id, record.at)


def _is_theirs(letter: DeadLetter, tenant: str, suppression: Suppression) -> bool:
    if not letter.records:
        return False
    at = datetime.fromisoformat(letter.at)
    return any(
        suppression.suppresses(name, at)
        for record in letter.records
        for name in _names(record, tenant)
    )


def _names(record: bytes, tenant: str) -> list[str]:
    """Whom a record may be of: its customer, or any word of what cannot be read."""
    try:
        found: Any = json.loads(record)
    except ValueError:
        return _WORD.findall(record.decode(errors="replace"))
    if not isinstance(found, dict) or found.get("tenant") != tenant:
        return []
    return [str(found["customer_id"])] if "customer_id" in found else []
