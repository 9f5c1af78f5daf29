"""The `sync` Lambda: what a scheduled run's sync has to read, and making what it made the newest.

Called by the `retrain` machine before and after the job; `inference.sync_plan` and
`inference.sync_commit` do the work.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from typing import Any

import msgspec

from inference.sync_commit import commit_sync
from inference.sync_metrics import embedded_line
from inference.sync_plan import SyncPlan, plan_sync, write_plan


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """`{"tenant", "now", "unique", "rules"}` → a plan; `{"plan"}` → what was made of it."""
    import boto3

    return answer(event, s3=boto3.client("s3"), bucket=os.environ["NEXTBEST_BUCKET"])


def answer(event: dict[str, Any], *, s3: Any, bucket: str) -> dict[str, Any]:
    """Plan or commit. Raises `SyncChangedError`."""
    if "plan" in event:
        return _commit(s3, msgspec.convert(event["plan"], SyncPlan))
    planned = plan_sync(
        s3,
        bucket,
        event["tenant"],
        now=datetime.fromisoformat(event["now"]),
        unique=event["unique"],
        rules=event.get("rules", {}),
    )
    if planned.plan.due:
        write_plan(s3, planned)
    return dict(msgspec.to_builtins(planned.plan))


def _commit(s3: Any, plan: SyncPlan) -> dict[str, Any]:
    account = commit_sync(s3, plan)
    stage = os.environ.get("NEXTBEST_STAGE", "unknown")
    print(json.dumps(embedded_line(account, stage=stage, tenant=plan.tenant)), flush=True)
    return {
        "sync": plan.id,
        "made": [kind for kind in ("interactions", "nudges") if account[kind]["made"]],
        "drift": account["drift"]["largest"],
    }
