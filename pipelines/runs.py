"""Runs: one Step Functions execution each, from data set to release. Start, list, show, stop.

Used by `nextbest train`, `nextbest runs` and `Workspace`. A run's name is the execution's name
and stands in every key, job and log line of the run.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from botocore.exceptions import ClientError

from pipelines.configuration import RunConfiguration, with_tuning
from pipelines.errors import RunError
from pipelines.jobs import JobView, find_jobs
from pipelines.pointers import newest_dataset
from pipelines.stage import IMAGE_MODEL, KINDS, NUDGE_POLICY, POINTERS, RECOMMENDER, Stage
from state_machines import SEARCH_SEED
from training.configuration import parse, to_strings
from training.image.configuration import ImageConfiguration
from training.nudge.configuration import NudgeConfiguration
from training.recommendation.configuration import RecommenderConfiguration

CONFIGURATIONS: dict[str, type[msgspec.Struct]] = {
    RECOMMENDER: RecommenderConfiguration,
    NUDGE_POLICY: NudgeConfiguration,
    IMAGE_MODEL: ImageConfiguration,
}
TRAIN_STEPS = {
    RECOMMENDER: "recommendation.train",
    NUDGE_POLICY: "nudge.train",
    IMAGE_MODEL: "image.train",
}
APPRENTICES = (NUDGE_POLICY,)
_LOGS = {RECOMMENDER: "data", NUDGE_POLICY: "log of nudges", IMAGE_MODEL: "pictures"}
ENDED = ("SUCCEEDED", "FAILED", "TIMED_OUT", "ABORTED")
_RUN = re.compile(r"(?P<kind>[a-z-]+)-\d{8}t\d{6}-[0-9a-f]{6,8}")


@dataclass(frozen=True)
class StateView:
    """One visit of a state; `ended_at` is None while it runs or when it failed there."""

    name: str
    entered_at: datetime
    ended_at: datetime | None


@dataclass(frozen=True)
class RunView:
    """A run as it stands now. `outcome` is released, apprentice, refused, superseded, or None."""

    name: str
    tenant: str
    kind: str
    status: str
    started_at: datetime
    ended_at: datetime | None
    outcome: str | None
    reasons: tuple[str, ...]
    error: str | None
    cause: str | None
    input: dict[str, Any]
    output: dict[str, Any]
    states: tuple[StateView, ...] = ()
    jobs: tuple[JobView, ...] = ()

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def summary(self) -> str:
        """One or two words: running, released, apprentice, refused, failed, interrupted …"""
        if self.status == "FAILED" and self.error == "States.ServiceRestart":
            return "interrupted"
        names = {"RUNNING": "running", "ABORTED": "stopped", "TIMED_OUT": "timed out"}
        return self.outcome or names.get(self.status, self.status.lower())


@dataclass(frozen=True)
class RunRequest:
    """What to train and how; `settings` are `key=value` of the kind's configuration.

    `release` says what becomes of a model that passes its gate: it goes live, or it watches the
    live one as its apprentice.
    """

    kind: str
    tenant: str
    settings: Mapping[str, Any]
    resources: RunConfiguration = field(default_factory=RunConfiguration)
    release: Literal["live", "apprentice"] = "live"


def run_name(kind: str, now: datetime) -> str:
    """`<kind>-<utc time>-<6 hex>`, e.g. `recommender-20261124t001904-ab12cd`."""
    return f"{kind}-{now:%Y%m%dt%H%M%S}-{secrets.token_hex(3)}"


def parse_settings(kind: str, settings: Mapping[str, Any]) -> msgspec.Struct:
    """The resolved configuration of one kind, or `ConfigurationError`."""
    if kind not in CONFIGURATIONS:
        raise RunError(f"{kind!r} cannot be trained; expected one of: {', '.join(KINDS)}")
    return parse(CONFIGURATIONS[kind], settings, where=f"[{kind}]")


def with_tuning_of(
    kind: str, resources: RunConfiguration, *, jobs: int | None, parallel: int | None
) -> RunConfiguration:
    """`resources` with other numbers of tuning jobs where given; none for what has no search.

    Raises `RunError` when tuning jobs are asked of a kind whose training searches nothing.
    """
    configuration = CONFIGURATIONS.get(kind)
    if configuration is None or SEARCH_SEED in configuration.__struct_fields__:
        return with_tuning(resources, jobs=jobs, parallel=parallel)
    if jobs or parallel:
        raise RunError(f"a {kind} has no search to share out to tuning jobs; leave --tune out")
    return with_tuning(resources, jobs=0, parallel=None)


def run_parameters(request: RunRequest) -> dict[str, Any]:
    """The part of an execution's input that does not depend on the run's name or data set."""
    strings = to_strings(parse_settings(request.kind, request.settings))
    if request.release == "apprentice" and request.kind not in APPRENTICES:
        raise RunError(
            f"a {request.kind} cannot be an apprentice, only a {', '.join(APPRENTICES)} can; "
            "leave --apprentice out"
        )
    hyperparameters = {**strings, "step": TRAIN_STEPS[request.kind]}
    if request.resources.tuning_jobs:
        hyperparameters.pop(SEARCH_SEED, None)  # tuned now: SageMaker takes it once only
    return {
        "tenant": request.tenant,
        "kind": request.kind,
        "hyperparameters": hyperparameters,
        "environment": {f"NEXTBEST_{key.upper()}": value for key, value in strings.items()},
        "resources": _resources(request.resources),
        "latest": POINTERS[request.kind],
        "release_mode": request.release,
    }


def _resources(resources: RunConfiguration) -> dict[str, Any]:
    stopping = {"MaxRuntimeInSeconds": resources.max_runtime_seconds}
    if resources.use_spot:
        stopping["MaxWaitTimeInSeconds"] = resources.max_wait_seconds
    return {
        "instance_type": resources.instance_type,
        "instance_count": resources.instance_count,
        "volume_gb": resources.volume_gb,
        "use_spot": resources.use_spot,
        "stopping": stopping,
        "tuning": _tuning(resources),
    }


def _tuning(resources: RunConfiguration) -> dict[str, Any]:
    jobs = resources.tuning_jobs
    return {
        "jobs": jobs,
        "parallel": min(resources.tuning_parallel, max(jobs, 1)),
        "seeds": [str(seed) for seed in range(1, jobs + 1)],
    }


def execution_input(
    stage: Stage, request: RunRequest, *, dataset: str, now: datetime, name: str
) -> dict[str, Any]:
    """The whole input of `train-<kind>`; `dataset` is a key prefix, `now` the start time."""
    payload = {**run_parameters(request), "bucket": stage.bucket, "dataset": dataset}
    return _stamped(payload, name, now=now)


def _stamped(payload: dict[str, Any], name: str, *, now: datetime) -> dict[str, Any]:
    """An execution's input under a run's name and time, in all the forms that jobs read."""
    stamp = {"tenant": payload["tenant"], "run": name, "started_at": f"{now:%Y-%m-%dT%H:%M:%SZ}"}
    named = {f"NEXTBEST_{key.upper()}": value for key, value in stamp.items()}
    return {
        **payload,
        **stamp,
        "hyperparameters": {**payload["hyperparameters"], **stamp},
        "environment": {**payload["environment"], **named},
    }


def start_run(stage: Stage, request: RunRequest, *, now: datetime | None = None) -> str:
    """Start a run on the tenant's latest data set and return its name.

    Raises `RunError` when the tenant has no data set or the stage is not deployed.
    """
    now = now or datetime.now(UTC)
    name = run_name(request.kind, now)
    payload = execution_input(
        stage,
        request,
        dataset=latest_dataset(stage, request.tenant, kind=request.kind),
        now=now,
        name=name,
    )
    return _start(stage, request.kind, name, payload)


def retry_run(stage: Stage, name: str, *, now: datetime | None = None) -> str:
    """Start a new run with the input of an earlier one: same data, same configuration.

    Raises `RunError` for a run that goes on or was released.
    """
    earlier = show_run(stage, name)
    if not earlier.has_ended:
        raise RunError(f"{name} is still running; nextbest runs watch {name} shows it")
    if earlier.outcome == "released":
        raise RunError(
            f"{name} was released: there is nothing to try again. "
            f"nextbest train {earlier.kind} --tenant {earlier.tenant} starts another run"
        )
    now = now or datetime.now(UTC)
    fresh = run_name(earlier.kind, now)
    payload = _stamped(earlier.input, fresh, now=now)
    return _start(stage, earlier.kind, fresh, payload)


def _start(stage: Stage, kind: str, name: str, payload: dict[str, Any]) -> str:
    try:
        stage.client("stepfunctions").start_execution(
            stateMachineArn=stage.machine_arn(f"train-{kind}"),
            name=name,
            input=json.dumps(payload),
        )
    except ClientError as error:
        if error.response["Error"]["Code"] == "StateMachineDoesNotExist":
            raise RunError(
                f"stage {stage.name!r} has no machine {stage.machine(f'train-{kind}')!r}; "
                f"run: nextbest deploy --stage {stage.name}"
            ) from error
        raise
    return name


def latest_dataset(stage: Stage, tenant: str, *, kind: str = RECOMMENDER) -> str:
    """Key prefix of the tenant's newest data set for a kind of model."""
    found = newest_dataset(stage, tenant, kind=kind)
    if found is None:
        raise RunError(
            f"tenant {tenant!r} has no {_LOGS[kind]} on stage {stage.name!r}; "
            f"run: nextbest data import PATH --tenant {tenant}"
        )
    return found["prefix"]


def machine_of(name: str) -> str:
    """The machine that a run's name belongs to (`train-recommender`)."""
    found = _RUN.fullmatch(name)
    if found is None or found["kind"] not in KINDS:
        raise RunError(
            f"{name!r} is no run's name; expected e.g. recommender-20261124t001904-ab12cd. "
            "nextbest runs list shows them"
        )
    return f"train-{found['kind']}"


def list_runs(stage: Stage, *, tenant: str | None = None, limit: int = 20) -> list[RunView]:
    """The newest runs of every kind, newest first; only that tenant's when one is named."""
    client = stage.client("stepfunctions")
    views: list[RunView] = []
    for kind in KINDS:
        views += _runs_of(client, stage.machine_arn(f"train-{kind}"), tenant=tenant, limit=limit)
    return sorted(views, key=lambda view: view.started_at, reverse=True)[:limit]


def _runs_of(client: Any, machine: str, *, tenant: str | None, limit: int) -> Iterator[RunView]:
    found = 0
    try:
        for page in client.get_paginator("list_executions").paginate(stateMachineArn=machine):
            for execution in page["executions"]:
                view = _view(client.describe_execution(executionArn=execution["executionArn"]))
                if tenant in (None, view.tenant):
                    found += 1
                    yield view
                if found == limit:
                    return
    except client.exceptions.StateMachineDoesNotExist:
        return


def show_run(stage: Stage, name: str) -> RunView:
    """A run with its states and jobs. Raises `RunError` when there is none of that name."""
    client = stage.client("stepfunctions")
    arn = stage.execution_arn(machine_of(name), name)
    try:
        description = client.describe_execution(executionArn=arn)
    except client.exceptions.ExecutionDoesNotExist as error:
        raise RunError(f"there is no run {name!r}; nextbest runs list shows them") from error
    return _view(description, states=states_of(client, arn), jobs=tuple(find_jobs(stage, name)))


def states_of(client: Any, arn: str) -> tuple[StateView, ...]:
    """The states an execution has visited, in order."""
    pages = client.get_paginator("get_execution_history").paginate(executionArn=arn)
    states: list[StateView] = []
    for event in (event for page in pages for event in page["events"]):
        if event["type"].endswith("StateEntered"):
            name = event["stateEnteredEventDetails"]["name"]
            states.append(StateView(name, event["timestamp"], None))
        elif event["type"].endswith("StateExited") and states:
            name = event["stateExitedEventDetails"]["name"]
            states = [_ended(state, name, event["timestamp"]) for state in states]
    return tuple(states)


def _ended(state: StateView, name: str, at: datetime) -> StateView:
    if state.name == name and state.ended_at is None:
        return StateView(name, state.entered_at, at)
    return state


def stop_run(stage: Stage, name: str) -> None:
    """Stop a run and the job it is waiting for; a run that has ended is left as it is."""
    if show_run(stage, name).has_ended:
        return
    client = stage.client("stepfunctions")
    # The run's release too: AWS stops a nested execution with its parent, the emulator does not.
    for machine in (machine_of(name), "release-model"):
        gone = (client.exceptions.ExecutionDoesNotExist, client.exceptions.ValidationException)
        with contextlib.suppress(*gone):  # not there, or ended meanwhile
            client.stop_execution(
                executionArn=stage.execution_arn(machine, name),
                error="StoppedByUser",
                cause="stopped with nextbest runs stop",
            )
    for job in find_jobs(stage, name):
        if not job.has_ended:
            job.stop(stage)


def watch_run(
    stage: Stage, name: str, *, sleep: Callable[[float], None], seconds: float
) -> Iterator[RunView]:
    """Snapshots of a run, `seconds` apart, the last one when it has ended."""
    while True:
        view = show_run(stage, name)
        yield view
        if view.has_ended:
            return
        sleep(seconds)


def _view(
    description: Mapping[str, Any],
    *,
    states: tuple[StateView, ...] = (),
    jobs: tuple[JobView, ...] = (),
) -> RunView:
    given = json.loads(description.get("input") or "{}")
    output = json.loads(description.get("output") or "{}")
    return RunView(
        name=description["name"],
        tenant=str(given.get("tenant", "?")),
        kind=str(given.get("kind", "?")),
        status=description["status"],
        started_at=description["startDate"],
        ended_at=description.get("stopDate"),
        outcome=output.get("outcome"),
        reasons=tuple(output.get("reasons") or ()),
        error=description.get("error"),
        cause=readable_cause(description.get("cause")),
        input=given,
        output=output,
        states=states,
        jobs=jobs,
    )


def readable_cause(cause: str | None) -> str | None:
    """The sentence in a cause: a failed job's is its whole description as JSON."""
    if not cause:
        return None
    try:
        described = json.loads(cause)
    except json.JSONDecodeError:
        return cause
    if not isinstance(described, dict):
        return cause
    for key in ("ExitMessage", "FailureReason", "errorMessage", "Cause"):
        if described.get(key):
            return readable_cause(str(described[key]))
    return cause
