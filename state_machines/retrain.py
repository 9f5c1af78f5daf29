"""`retrain`: started by EventBridge Scheduler; syncs, then starts `train-<kind>`.

What has come into the tenant's archive becomes its newest data sets first: a Lambda finds what is
new, a job on folders makes data sets of it, the Lambda makes them the newest. Where nothing is new,
and where there is no archive, the newest data set is what was imported.

The schedule's input is what does not change (tenant, kind, configuration); the run's name, time
and data set are found here, so that a scheduled run is like any other.
"""

from __future__ import annotations

from typing import Any

from state_machines.jobs import DAY_SECONDS, sync_job
from state_machines.states import (
    catch,
    choice,
    equals,
    fail_with_error,
    is_present,
    put,
    render,
    task,
)

_PARTS = "$.time"
_ANY_OF = "-:.TZ+"


def _part(index: int) -> str:
    return f"States.ArrayGetItem({_PARTS}.parts, {index})"


def retrain() -> dict[str, Any]:
    """The definition, with `${…}` tokens for what the stage fills in."""
    failed = fail_with_error("Failed")
    split, stamp, names, read, start = _split_time(), _stamp(), _names(), _read(), _start()
    plan, sync, commit = _plan_sync(), sync_job("$.sync.plan"), _commit_sync()
    default = put("DefaultRules", {"rules": {}, "environment": {}}, result_path="$.events")
    for state in (plan, sync, commit, read, start):
        if state is commit:
            # Imported or erased meanwhile: train on what is there, the next sync does it all.
            catch(commit, ["SyncChangedError"], read, result_path="$.unsynced")
        catch(state, ["States.ALL"], failed)
    split.next(stamp)
    stamp.next(names)
    names.next(choice("HasRules", [(is_present("$.events"), plan)], default=default))
    default.next(plan)
    plan.next(choice("IsDue", [(equals("$.sync.plan.due", ""), read)], default=sync))
    sync.next(commit)
    commit.next(read)
    read.next(start)
    return render(
        split, comment="Sync, and start a run on the newest data", timeout_seconds=DAY_SECONDS
    )


def _plan_sync() -> Any:
    """What has come into the tenant's archive; `due` is empty where nothing has, or there is
    none."""
    return _sync_lambda(
        "PlanSync",
        {
            "tenant.$": "$.tenant",
            "now.$": "$.stamp.started_at",
            "unique.$": f"{_PARTS}.unique",
            "rules.$": "$.events.rules",
        },
        result="plan",
        result_path="$.sync",
    )


def _commit_sync() -> Any:
    """Make what the job made the newest: pointers, which the job may not write, last."""
    payload = {"plan.$": "$.sync.plan"}
    return _sync_lambda("CommitSync", payload, result="made", result_path="$.synced")


def _sync_lambda(name: str, payload: dict[str, Any], *, result: str, result_path: str) -> Any:
    return task(
        name,
        "lambda:invoke",
        {"FunctionName": "${SyncFunctionArn}", "Payload": payload},
        result_selector={f"{result}.$": "$.Payload"},
        result_path=result_path,
        timeout_seconds=900,
    )


def _read() -> Any:
    return task(
        "ReadDataset",
        "aws-sdk:s3:getObject",
        {
            "Bucket": "${Bucket}",
            "Key.$": "States.Format('tenants/{}/datasets/{}', $.tenant, $.latest)",
        },
        result_selector={"latest.$": "States.StringToJson($.Body)"},
        result_path="$.dataset",
    )


def _split_time() -> Any:
    """The parts of the present time, and eight digits of chance."""
    return put(
        "SplitTime",
        {
            "parts.$": f"States.StringSplit($$.State.EnteredTime, '{_ANY_OF}')",
            "unique.$": "States.ArrayGetItem(States.StringSplit(States.UUID(), '-'), 0)",
        },
        result_path=_PARTS,
    )


def _stamp() -> Any:
    """The run's name and time, made of them."""
    day_and_time = ", ".join(_part(index) for index in range(6))
    return put(
        "Stamp",
        {
            "run.$": "States.Format('{}-{}{}{}t{}{}{}-{}', $.kind, "
            f"{day_and_time}, {_PARTS}.unique)",
            "started_at.$": f"States.Format('{{}}-{{}}-{{}}T{{}}:{{}}:{{}}Z', {day_and_time})",
        },
        result_path="$.stamp",
    )


def _names() -> Any:
    """What tells a job whose it is, in both forms that jobs read."""
    return put(
        "Names",
        {
            "hyperparameters": {
                "run.$": "$.stamp.run",
                "started_at.$": "$.stamp.started_at",
                "tenant.$": "$.tenant",
            },
            "environment": {
                "NEXTBEST_RUN.$": "$.stamp.run",
                "NEXTBEST_STARTED_AT.$": "$.stamp.started_at",
                "NEXTBEST_TENANT.$": "$.tenant",
            },
        },
        result_path="$.names",
    )


def _start() -> Any:
    merged = "States.JsonMerge($.{0}, $.names.{0}, false)"
    return task(
        "StartRun",
        "states:startExecution",
        {
            "StateMachineArn.$": "States.Format('${TrainMachinesArn}-{}', $.kind)",
            "Name.$": "$.stamp.run",
            "Input": {
                "tenant.$": "$.tenant",
                "kind.$": "$.kind",
                "run.$": "$.stamp.run",
                "started_at.$": "$.stamp.started_at",
                "bucket": "${Bucket}",
                "dataset.$": "$.dataset.latest.prefix",
                "hyperparameters.$": merged.format("hyperparameters"),
                "environment.$": merged.format("environment"),
                "resources.$": "$.resources",
                "release_mode.$": "$.release_mode",
                "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID.$": "$$.Execution.Id",
            },
        },
        result_path="$.started",
    )
