"""`train-<kind>`: Prepare → Train (or Tune) → Evaluate → Gate → Register → Release → Notify.

A failed job is `States.TaskFailed` to Step Functions, whatever it failed of; its description is
the Cause. So a Choice reads the Cause: a killed process or a fault of the service gets a new job
(a new name, up to three in all), an error of the data or the code ends the run.
"""

from __future__ import annotations

from typing import Any

from stepfunctions.steps import ChoiceRule, Pass, Task

from state_machines.jobs import (
    DAY_SECONDS,
    artifacts,
    evaluate_job,
    prepare_job,
    run_uri,
    train_job,
    tune_job,
)
from state_machines.states import (
    all_of,
    any_of,
    catch,
    choice,
    equals,
    fail_with_error,
    is_present,
    matches,
    put,
    render,
    task,
)

KINDS = {
    "recommender": ("recommendation", "next-best-product"),
    "nudge-policy": ("nudge", "nudge"),
    "image-model": ("image", "similar-products"),
}
# What a job's description says when trying again helps: killed (memory, a lost machine), told to
# end (a machine taken back), a fault or a lack of capacity of the service.
RETRYABLE = (
    "*exit code: 137*",
    "*exit code: 143*",
    "*InternalServerError*",
    "*CapacityError*",
    "*InsufficientCapacity*",
)
MAXIMUM_JOBS = 3
NONE = "s3://${Bucket}/none/"
STEPS = ("prepare", "train", "tune", "evaluate")
# Kinds whose training searches: the children of a tuning job differ in where the search begins.
TUNED = ("recommender",)
# Kinds that learn from customers: those who were erased are left out.
OF_CUSTOMERS = ("recommender", "nudge-policy")
SUPPRESSION = "suppression"
# Kinds that learn from what another live model knows too: its decision, and the channel it fills.
LEARNS_FROM = {"recommender": ("similar-products", "images")}


def train_model(kind: str = "recommender") -> dict[str, Any]:
    """The definition, with `${…}` tokens for what the stage fills in."""
    package, decision = KINDS[kind]
    notify_failed = _notify_failed()
    begin = put("Begin", dict.fromkeys(STEPS, 0), result_path="$.attempts")
    live = Pass("ReleaseLive", result="live", result_path="$.release_mode")
    channels = [channel for _, channel in _sources(kind)]
    channels += [SUPPRESSION] if kind in OF_CUSTOMERS else []
    prepare = prepare_job(package, channels=channels)
    train, evaluate = train_job(kind), evaluate_job(package)
    jobs = [prepare, train, evaluate]
    first = _read_sources(kind, then=prepare, otherwise=notify_failed)
    if kind in OF_CUSTOMERS:
        first = _read_suppression(then=first, otherwise=notify_failed)
    champion, none = _read_live("Champion", decision)

    begin.next(choice("HasReleaseMode", [(is_present("$.release_mode"), first)], default=live))
    live.next(first)
    if kind in TUNED:
        tune = tune_job(kind, train)
        jobs.append(tune)
        prepare.next(choice("Tuning", [(_wants_many_jobs(), tune)], default=train))
        tune.next(champion)
    else:
        prepare.next(train)
    for state in jobs:
        _retry_job(state, notify_failed)
    for state in (*jobs, champion):
        catch(state, ["States.ALL"], notify_failed)
    train.next(champion)
    champion.next(evaluate)
    none.next(evaluate)
    evaluate.next(_gate_and_release(kind, decision, otherwise=notify_failed))
    return render(
        begin, comment=f"Train, gate and release a {kind}", timeout_seconds=2 * DAY_SECONDS
    )


def _notify_failed() -> Task:
    """Tell that the run failed, and fail with what a catch kept."""
    failed = fail_with_error("Failed")
    state = _notify("NotifyFailed", "Run failed", {"error.$": "$.error.Error"})
    catch(state, ["States.ALL"], failed, result_path="$.unnotified")
    state.next(failed)
    return state


def _gate_and_release(kind: str, decision: str, *, otherwise: Any) -> Task:
    """From the verdict to the end: refused, or registered and released; both are told."""
    gate, register, release = _gate(), _register(kind), _release(kind, decision)
    refused = put("Refused", _result("refused", "$.gate.verdict.reasons"), result_path="$.result")
    released = put("Released", _released(), result_path="$.result")
    notify = _notify("Notify", "Run ended", {"result.$": "$.result"})
    end = Pass("End", input_path="$.result")
    for state in (gate, register, release):
        catch(state, ["States.ALL"], otherwise)
    catch(notify, ["States.ALL"], end, result_path="$.unnotified")
    gate.next(
        choice("Passed", [(equals("$.gate.verdict.outcome", "passed"), register)], default=refused)
    )
    register.next(release)
    release.next(released)
    released.next(notify)
    refused.next(notify)
    notify.next(end)
    return gate


def _retry_job(state: Task, otherwise: Any) -> None:
    """A new job when the old one was killed or the service was at fault, else `otherwise`."""
    step = state.state_id.lower()
    counts = {
        f"{s}.$": f"States.MathAdd($.attempts.{s}, 1)" if s == step else f"$.attempts.{s}"
        for s in STEPS
    }
    again = put(f"{state.state_id}Again", counts, result_path="$.attempts")
    again.next(state)
    worth_it = all_of(
        any_of(*[matches("$.error.Cause", mark) for mark in RETRYABLE]),
        ChoiceRule.NumericLessThan(variable=f"$.attempts.{step}", value=MAXIMUM_JOBS - 1),
    )
    why = choice(f"Why{state.state_id}Failed", [(worth_it, again)], default=otherwise)
    catch(state, ["States.TaskFailed"], why)


def _wants_many_jobs() -> Any:
    """A run whose input says nothing of tuning jobs searches within its one training job."""
    return all_of(
        ChoiceRule.IsPresent(variable="$.resources.tuning", value=True),
        ChoiceRule.NumericGreaterThan(variable="$.resources.tuning.jobs", value=0),
    )


def _function(decision: str) -> str:
    return f"States.Format('nextbest-${{Stage}}-{{}}-{decision}', $.tenant)"


def _sources(kind: str) -> list[tuple[str, str]]:
    return [LEARNS_FROM[kind]] if kind in LEARNS_FROM else []


def _read_sources(kind: str, *, then: Task, otherwise: Any) -> Task:
    """The states that find the live models a kind learns from, and the first of them."""
    first = then
    for decision, channel in reversed(_sources(kind)):
        read, none = _read_live(channel.capitalize(), decision)
        catch(read, ["States.ALL"], otherwise)
        read.next(first)
        none.next(first)
        first = read
    return first


def _read_live(name: str, decision: str) -> tuple[Task, Pass]:
    """Where the artefacts of a decision's live version are, and what stands there instead where
    none is live: an empty place."""
    place = f"$.{name.lower()}"
    read = task(
        f"Read{name}",
        "aws-sdk:lambda:getFunctionConfiguration",
        {"FunctionName.$": _function(decision), "Qualifier": "live"},
        result_selector={
            "artifacts.$": "States.Format('{}/', $.Environment.Variables.NEXTBEST_ARTIFACTS)"
        },
        result_path=place,
    )
    none = _none(name)
    catch(read, ["Lambda.ResourceNotFoundException"], none, result_path="$.none")
    return read, none


def _none(name: str) -> Pass:
    return put(f"No{name}", {"artifacts": NONE}, result_path=f"$.{name.lower()}")


def _read_suppression(*, then: Task, otherwise: Any) -> Task:
    """Where the tenant's list of who was erased is, if there is one.

    Listed, not read: it may be longer than a state's data, and only a list that says for sure that
    it is not there may be left out.
    """
    place, key = f"$.{SUPPRESSION}", "tenants/{}/suppression.json"
    listed = task(
        "ReadSuppression",
        "aws-sdk:s3:listObjectsV2",
        {"Bucket.$": "$.bucket", "Prefix.$": f"States.Format('{key}', $.tenant)", "MaxKeys": 1},
        result_path=place,
    )
    uri = f"States.Format('s3://{{}}/{key}', $.bucket, $.tenant)"
    found = put("Suppression", {"artifacts.$": uri}, result_path=place)
    none = _none("Suppression")
    catch(listed, ["States.ALL"], otherwise)
    listed.next(
        choice("AnySuppressed", [(is_present(f"{place}.Contents[0]"), found)], default=none)
    )
    found.next(then)
    none.next(then)
    return listed


def _gate() -> Task:
    return task(
        "Gate",
        "aws-sdk:s3:getObject",
        {
            "Bucket.$": "$.bucket",
            "Key.$": "States.Format('tenants/{}/runs/{}/evaluation/gate.json', $.tenant, $.run)",
        },
        result_selector={"verdict.$": "States.StringToJson($.Body)"},
        result_path="$.gate",
    )


def _register(kind: str) -> Task:
    group = f"States.Format('nextbest-${{Stage}}-{{}}-{kind}', $.tenant)"
    model = f"States.Format('{{}}/model.tar.gz', {artifacts()})"
    return task(
        "Register",
        "aws-sdk:sagemaker:createModelPackage",
        {
            "ModelPackageGroupName.$": group,
            "ModelPackageDescription.$": "$.run",
            "ModelApprovalStatus": "Approved",
            "CustomerMetadataProperties": {"run.$": "$.run", "tenant.$": "$.tenant"},
            "InferenceSpecification": {
                "Containers": [{"Image": "${TrainingImage}", "ModelDataUrl.$": model}],
                "SupportedContentTypes": ["application/json"],
                "SupportedResponseMIMETypes": ["application/json"],
            },
        },
        result_path="$.registered",
    )


def _release(kind: str, decision: str) -> Task:
    return task(
        "Release",
        "states:startExecution.sync:2",
        {
            "StateMachineArn": "${ReleaseMachineArn}",
            "Name.$": "$.run",
            "Input": {
                "tenant.$": "$.tenant",
                "kind": kind,
                "run.$": "$.run",
                "started_at.$": "$.started_at",
                "function.$": _function(decision),
                "artifacts.$": artifacts(),
                "golden.$": run_uri("evaluation/golden.json"),
                "mode.$": "$.release_mode",
                "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID.$": "$$.Execution.Id",
            },
        },
        result_selector={"output.$": "$.Output"},
        result_path="$.release",
        timeout_seconds=DAY_SECONDS,
    )


def _result(outcome: str, reasons: str) -> dict[str, str]:
    return {"outcome": outcome, "run.$": "$.run", "tenant.$": "$.tenant", "reasons.$": reasons}


def _released() -> dict[str, str]:
    return {
        "outcome.$": "$.release.output.outcome",
        "model_version.$": "$.release.output.model_version",
        "run.$": "$.run",
        "tenant.$": "$.tenant",
    }


def _notify(name: str, detail_type: str, more: dict[str, Any]) -> Task:
    detail = {"run.$": "$.run", "tenant.$": "$.tenant", "kind.$": "$.kind", **more}
    entry = {"Source": "nextbest", "DetailType": detail_type, "Detail": detail}
    return task(name, "events:putEvents", {"Entries": [entry]}, result_path="$.notified")
