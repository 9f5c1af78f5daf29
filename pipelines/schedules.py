"""Retraining by the clock: EventBridge Scheduler starts the `retrain` machine of a stage.

Used by `nextbest schedule` and `Workspace`. One schedule per tenant and kind of model.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from pipelines.errors import ScheduleError
from pipelines.runs import RunRequest, run_parameters
from pipelines.stage import Stage
from training.configuration import parse, to_strings

_POLL_SECONDS = 0.3
_EVERY = re.compile(r"(\d+)([mhd])")
_UNITS = {"m": "minute", "h": "hour", "d": "day"}
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_CRON_FIELDS: tuple[tuple[str, int, int, tuple[str, ...]], ...] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day-of-month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day-of-week", 1, 7, _WEEKDAYS),
    ("year", 1970, 2199, ()),
)
# A value or range with a step, the last day or weekday (L, 5L, LW, 15W), the second Monday (2#2).
_END = r"\d+|[A-Z]{3}"
_CRON_PART = re.compile(
    rf"(?:\?|L|LW|\*(?:/\d+)?|(?P<first>{_END})(?:-(?P<last>{_END}))?(?:/\d+|L|W|#[1-5])?)"
)


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
    """Six fields (minute hour day month weekday year, UTC) as a `cron()` expression.

    Raises `ScheduleError` naming the field that the Scheduler would not take.
    """
    given = fields.split()
    if len(given) != len(_CRON_FIELDS):
        raise ScheduleError(
            f"--cron {fields!r} has {len(given)} fields; expected six: minute hour "
            "day-of-month month day-of-week year, in UTC, e.g. '0 3 ? * MON *'"
        )
    for text, (name, low, high, words) in zip(given, _CRON_FIELDS, strict=True):
        if not all(_is_cron(part, low, high, words) for part in text.upper().split(",")):
            hint = f" or {words[0]} to {words[-1]}" if words else ""
            raise ScheduleError(
                f"--cron {fields!r}: {name} {text!r}; expected {low} to {high}{hint}, "
                "lists (1,2), ranges (1-5), steps (*/2) or *"
            )
    if (given[2] == "?") == (given[4] == "?"):
        raise ScheduleError(
            f"--cron {fields!r}: exactly one of day-of-month and day-of-week must be '?', "
            "e.g. '0 3 ? * MON *' or '0 3 1 * ? *'"
        )
    return f"cron({fields})"


def _is_cron(part: str, low: int, high: int, words: tuple[str, ...]) -> bool:
    found = _CRON_PART.fullmatch(part)
    if found is None:
        return False
    ends = [end for end in (found["first"], found["last"]) if end]
    numbers = [end for end in ends if end.isdigit()]
    named = all(end in words for end in ends if not end.isdigit())
    return named and all(low <= int(number) <= high for number in numbers)


def set_schedule(
    stage: Stage, request: RunRequest, *, expression: str, events: Mapping[str, Any] | None = None
) -> ScheduleView:
    """Create or replace the schedule of a tenant's kind; the run uses the newest data then, which
    it makes by the rules of `events`, the section of `nextbest.toml`."""
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
            "Input": json.dumps({**run_parameters(request), "events": _sync_rules(events or {})}),
        },
    }
    try:
        _create_or_update(client, definition)
    except ClientError as error:
        raise ScheduleError(
            f"the schedule {expression} was not accepted: {error.response['Error']['Message']}"
        ) from error
    return ScheduleView(request.tenant, request.kind, expression, "ENABLED")


def _sync_rules(events: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The rules of a sync, as its Lambda and as its job read them."""
    from training.sync.configuration import SyncRules  # pulls in pandas

    rules = to_strings(parse(SyncRules, events, where="[events]"))
    return {
        "rules": rules,
        "environment": {f"NEXTBEST_{key.upper()}": value for key, value in rules.items()},
    }


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


def run_schedule(
    stage: Stage, tenant: str, *, kind: str, sleep: Callable[[float], None] = time.sleep
) -> str:
    """Do now what the schedule does when it is due; the name of the run that it started.

    Raises `ScheduleError` when there is no schedule, or its execution failed.
    """
    target = _schedule(stage, tenant, kind=kind)["Target"]
    client = stage.client("stepfunctions")
    started = client.start_execution(stateMachineArn=target["Arn"], input=target["Input"])
    arn = started["executionArn"]
    while (found := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
        sleep(_POLL_SECONDS)
    if found["status"] != "SUCCEEDED":
        why = f"{found.get('error')}: {found.get('cause')}"
        raise ScheduleError(f"the schedule of {tenant!r} for {kind!r} started no run: {why}")
    return str(json.loads(found["output"])["stamp"]["run"])


def _schedule(stage: Stage, tenant: str, *, kind: str) -> dict[str, Any]:
    client = stage.client("scheduler")
    try:
        found = client.get_schedule(
            Name=stage.schedule(tenant, kind), GroupName=stage.schedule_group
        )
    except client.exceptions.ResourceNotFoundException as error:
        raise _none(tenant, kind) from error
    return dict(found)


def _none(tenant: str, kind: str) -> ScheduleError:
    return ScheduleError(
        f"tenant {tenant!r} has no schedule for {kind!r}; nextbest schedule list shows them"
    )


def remove_schedule(stage: Stage, tenant: str, *, kind: str) -> None:
    """Remove a schedule; `ScheduleError` when there is none."""
    client = stage.client("scheduler")
    try:
        client.delete_schedule(Name=stage.schedule(tenant, kind), GroupName=stage.schedule_group)
    except client.exceptions.ResourceNotFoundException as error:
        raise _none(tenant, kind) from error
