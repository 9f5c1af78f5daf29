"""`retrain`: started by EventBridge Scheduler; starts `train-<kind>` on the newest data set.

The schedule's input is what does not change (tenant, kind, configuration); the run's name, time
and data set are found here, so that a scheduled run is like any other.
"""

from __future__ import annotations

from typing import Any

from state_machines.states import catch, fail_with_error, put, render, task

_PARTS = "$.time"
_ANY_OF = "-:.TZ+"


def _part(index: int) -> str:
    return f"States.ArrayGetItem({_PARTS}.parts, {index})"


def retrain() -> dict[str, Any]:
    """The definition, with `${…}` tokens for what the stage fills in."""
    failed = fail_with_error("Failed")
    read = task(
        "ReadDataset",
        "aws-sdk:s3:getObject",
        {
            "Bucket": "${Bucket}",
            "Key.$": "States.Format('tenants/{}/datasets/{}', $.tenant, $.latest)",
        },
        result_selector={"latest.$": "States.StringToJson($.Body)"},
        result_path="$.dataset",
    )
    split, stamp, names = _split_time(), _stamp(), _names()
    start = _start()
    for state in (read, start):
        catch(state, ["States.ALL"], failed)
    read.next(split)
    split.next(stamp)
    stamp.next(names)
    names.next(start)
    return render(read, comment="Start a run on the newest data", timeout_seconds=300)


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
