"""Retraining by the clock: EventBridge Scheduler starts the `retrain` machine of a stage.

Used by `nextbest schedule` and `Workspace`. One schedule per tenant and kind of model.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipelines.errors import ScheduleError
from pipelines.runs import RunRequest, run_parameters
from pipelines.stage import Stage

_EVERY = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minute", "h": "hour", "d": "day"}
_CRON_FIELDS = 6


@dataclass(frozen=True)
class ScheduleView:
    """A schedule as the service holds it."""

    tenant: str
    kind: str
    expression: str
    state: str


def rate(every: str) -> str:
    """`7d`, `12h` or `30m` as a `rate()` expression of the Scheduler."""
    found = _EVERY.fullmatch(every)
    if found is None or int(found[1]) == 0:
        raise ScheduleError(f"--every {every!r} is not a span; expected e.g. 7d, 12h or 30m")
    count, unit = int(found[1]), _UNITS[found[2]]
    return f"rate({count} {unit}{'' if count == 1 else 's'})"


def cron(fields: str) -> str:
    """Six fields (minute hour day month weekday year, UTC) as a `cron()` expression."""
    if len(fields.split()) != _CRON_FIELDS:
        raise ScheduleError(
            f"--cron {fields!r} has {len(fields.split())} fields; expected six: minute hour "
            "day-of-month month day-of-week year, in UTC, e.g. '0 3 ? * MON *'"
        )
    return f"cron({fields})"


def set_schedule(stage: Stage, request: RunRequest, *, expression: str) -> ScheduleView:
    """Create or replace the schedule of a tenant's kind; the run uses the newest data then."""
    client = stage.client("scheduler")
    definition = {
        "Name": stage.schedule(request.tenant, request.kind),
        "GroupName": stage.schedule_group,
        "ScheduleExpression": expression,
        "ScheduleExpressionTimezone": "UTC",
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {
            "Arn": stage.machine_arn("retrain"),
            "RoleArn": stage.role_arn("scheduler"),
            "Input": json.dumps(run_parameters(request)),
        },
    }
    try:
        _create_or_update(client, definition)
    except ClientError as error:
        raise ScheduleError(
            f"the schedule {expression} was not accepted: {error.response['Error']['Message']}"
        ) from error
    return ScheduleView(request.tenant, request.kind, expression, "ENABLED")


def _create_or_update(client: Any, definition: dict[str, Any]) -> None:
    try:
        client.create_schedule(**definition)
    except client.exceptions.ConflictException:
        client.update_schedule(**definition)


def list_schedules(stage: Stage, *, tenant: str | None = None) -> list[ScheduleView]:
    """The stage's schedules, by tenant and kind."""
    client = stage.client("scheduler")
    views = []
    for page in client.get_paginator("list_schedules").paginate(GroupName=stage.schedule_group):
        for item in page["Schedules"]:
            view = _view(client.get_schedule(Name=item["Name"], GroupName=stage.schedule_group))
            if tenant in (None, view.tenant):
                views.append(view)
    return sorted(views, key=lambda view: (view.tenant, view.kind))


def _view(schedule: dict[str, Any]) -> ScheduleView:
    given = json.loads(schedule["Target"]["Input"])
    return ScheduleView(
        given["tenant"], given["kind"], schedule["ScheduleExpression"], schedule["State"]
    )


def remove_schedule(stage: Stage, tenant: str, *, kind: str) -> None:
    """Remove a schedule; `ScheduleError` when there is none."""
    client = stage.client("scheduler")
    try:
        client.delete_schedule(Name=stage.schedule(tenant, kind), GroupName=stage.schedule_group)
    except client.exceptions.ResourceNotFoundException as error:
        raise ScheduleError(
            f"tenant {tenant!r} has no schedule for {kind!r}; nextbest schedule list shows them"
        ) from error
