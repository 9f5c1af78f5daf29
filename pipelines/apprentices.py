"""An apprentice policy: how often it agrees with the running one, and making it live.

The nudge Lambda logs both choices for every decision (`inference/apprentice.py`); here they are
read back and summed up. Used by `nextbest models show | promote` and `Workspace`.
"""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from pipelines.errors import ReleaseError
from pipelines.releases import ModelView, decision_function, list_models, require_live
from pipelines.stage import Stage

KIND = "nudge-policy"
MAX_LINES = 100_000
_COMPARED, _FAILED = "apprentice", "apprentice-failed"


@dataclass
class Agreement:
    """Comparisons of the running policy (of `run`) with its apprentice, so far.

    `overlap` is the mean probability the two have in common: what the rate tends to, without the
    chance of the draws. `choices` counts (running, apprentice) pairs of actions.
    """

    run: str
    apprentice: str
    compared: int = 0
    agreed: int = 0
    failed: int = 0
    overlap: float = 0.0
    choices: Counter[tuple[str, str]] = field(default_factory=Counter)
    is_complete: bool = True

    @property
    def rate(self) -> float | None:
        """The share of decisions on which both chose the same; None before the first."""
        return self.agreed / self.compared if self.compared else None


def agreement(
    stage: Stage, tenant: str, *, days: float = 7, now: datetime | None = None
) -> Agreement:
    """The agreement of the live policy and its apprentice over the last `days`.

    Raises `ReleaseError` where none watches.
    """
    live = require_apprentice(stage, tenant)
    since = (now or datetime.now(UTC)) - timedelta(days=days)
    function = decision_function(stage, tenant, kind=KIND)
    lines = _lines(stage, f"/aws/lambda/{function}", since=since)
    return sum_up(lines, run=live.run, apprentice=str(live.apprentice))


def require_apprentice(stage: Stage, tenant: str) -> ModelView:
    """The live version, which has an apprentice; `ReleaseError` where it has none."""
    live = require_live(list_models(stage, tenant, kind=KIND), tenant=tenant, kind=KIND)
    if live.apprentice is None:
        raise ReleaseError(
            f"no apprentice watches version {live.version} of tenant {tenant!r}; "
            f"run: nextbest train {KIND} --tenant {tenant} --apprentice"
        )
    return live


def sum_up(lines: Iterable[str], *, run: str, apprentice: str) -> Agreement:
    """The agreement told by a function's log lines; those of other runs are passed over."""
    found, overlaps = Agreement(run, apprentice), 0.0
    for count, line in enumerate(lines, start=1):
        record = _record(line)
        if record.get("run") == run and record.get("apprentice_run") == apprentice:
            if record.get("event") == _FAILED:
                found.failed += 1
                continue
            found.compared += 1
            found.agreed += record["agrees"]
            found.choices[(record["action"], record["apprentice_action"])] += 1
            overlaps += record["overlap"]
        if count == MAX_LINES:
            found.is_complete = False
            break
    found.overlap = overlaps / found.compared if found.compared else 0.0
    return found


def _record(line: str) -> dict[str, Any]:
    """An apprentice's line as JSON; empty for every other line of the log."""
    start = line.find("{")
    if start < 0 or f'"{_COMPARED}' not in line:
        return {}
    try:
        record = json.loads(line[start:])
    except json.JSONDecodeError:
        return {}
    return record if record.get("event") in (_COMPARED, _FAILED) else {}


def _lines(stage: Stage, group: str, *, since: datetime) -> Iterator[str]:
    client = stage.client("logs")
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=group,
        startTime=int(since.timestamp() * 1000),
        filterPattern=f'"{_COMPARED}"',
    )
    try:
        for event in (event for page in pages for event in page["events"]):
            yield event["message"]
    except client.exceptions.ResourceNotFoundException:
        return


def promote(
    stage: Stage,
    tenant: str,
    *,
    sleep: Callable[[float], None] = time.sleep,
    seconds: float = 0.3,
) -> str:
    """Release the apprentice's model as the live one; the version it became.

    It is verified like every release. Raises `ReleaseError` when there is no apprentice or the
    release did not end as one.
    """
    live = require_apprentice(stage, tenant)
    run = str(live.apprentice)
    client = stage.client("stepfunctions")
    started = client.start_execution(
        stateMachineArn=stage.machine_arn("release-model"),
        name=f"{run}-{secrets.token_hex(3)}",
        input=json.dumps(release_input(stage, tenant, run, artifacts=live.apprentice_artifacts)),
    )["executionArn"]
    while (found := client.describe_execution(executionArn=started))["status"] == "RUNNING":
        sleep(seconds)
    output = json.loads(found.get("output") or "{}")
    if output.get("outcome") != "released":
        why = found.get("cause") or output.get("outcome") or found["status"]
        raise ReleaseError(f"run {run} was not released: {why}")
    return str(output["model_version"])


def release_input(stage: Stage, tenant: str, run: str, *, artifacts: str | None) -> dict[str, Any]:
    """The input with which `release-model` makes a run's policy live."""
    started = datetime.strptime(run.split("-")[-2], "%Y%m%dt%H%M%S")
    return {
        "tenant": tenant,
        "kind": KIND,
        "run": run,
        "started_at": f"{started:%Y-%m-%dT%H:%M:%SZ}",
        "function": decision_function(stage, tenant, kind=KIND),
        "artifacts": artifacts,
        "golden": stage.uri(f"{stage.run_prefix(tenant, run)}/evaluation/golden.json"),
        "mode": "live",
    }
