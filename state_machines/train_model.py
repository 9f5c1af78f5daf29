"""`train-<kind>`: Prepare → Train (or Tune) → Evaluate → Gate → Register → Release → Notify.

A failed job is `States.TaskFailed` to Step Functions, whatever it failed of; its description is
the Cause. So a Choice reads the Cause: a killed process or a fault of the service gets a new job
(a new name, up to three in all), an error of the data or the code ends the run.
"""

from __future__ import annotations

from typing import Any

from stepfunctions.steps import ChoiceRule, Pass, Task

from state_machines import SEARCH_SEED
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
}
# What a job's description says when trying again helps: killed (memory, a lost machine), a fault
# or a lack of capacity of the service.
RETRYABLE = (
    "*exit code: 137*",
    "*InternalServerError*",
    "*CapacityError*",
    "*InsufficientCapacity*",
)
MAXIMUM_JOBS = 3
DAY_SECONDS = 86_400
STEPS = ("prepare", "train", "tune", "evaluate")
ML = "/opt/ml/processing"
RUN = "s3://{}/tenants/{}/runs/{}"
METRICS = {
    "recommender": ("best_validation_ndcg", "validation_ndcg"),
    "nudge-policy": ("validation_loss",),
}
# Kinds whose training searches: the children of a tuning job differ in where the search begins.
TUNED = ("recommender",)


def train_model(kind: str = "recommender") -> dict[str, Any]:
    """The definition, with `${…}` tokens for what the stage fills in."""
    package, decision = KINDS[kind]
    failed = fail_with_error("Failed")
    notify_failed = _notify("NotifyFailed", "Run failed", {"error.$": "$.error.Error"})
    catch(notify_failed, ["States.ALL"], failed, result_path="$.unnotified")
    notify_failed.next(failed)

    begin = put("Begin", dict.fromkeys(STEPS, 0), result_path="$.attempts")
    live = Pass("ReleaseLive", result="live", result_path="$.release_mode")
    prepare = _processing("Prepare", f"{package}.prepare", _prepare_inputs(), "prepared")
    train = _train(kind)
    jobs = [prepare, train]
    champion = _read_champion(decision)
    none = put("NoChampion", {"artifacts": "s3://${Bucket}/none/"}, result_path="$.champion")
    evaluate = _processing("Evaluate", f"{package}.evaluate", _evaluate_inputs(), "evaluation")
    gate, register, release = _gate(), _register(kind), _release(kind, decision)
    refused = put("Refused", _result("refused", "$.gate.verdict.reasons"), result_path="$.result")
    released = put("Released", _released(), result_path="$.result")
    notify = _notify("Notify", "Run ended", {"result.$": "$.result"})
    end = Pass("End", input_path="$.result")

    begin.next(choice("HasReleaseMode", [(is_present("$.release_mode"), prepare)], default=live))
    live.next(prepare)
    if kind in TUNED:
        tune = _tune(kind, train)
        jobs.append(tune)
        prepare.next(choice("Tuning", [(_wants_many_jobs(), tune)], default=train))
        tune.next(champion)
    else:
        prepare.next(train)
    jobs.append(evaluate)
    for state in jobs:
        _retry_job(state, notify_failed)
    catch(champion, ["Lambda.ResourceNotFoundException"], none, result_path="$.none")
    for state in (*jobs, champion, gate, register, release):
        catch(state, ["States.ALL"], notify_failed)
    catch(notify, ["States.ALL"], end, result_path="$.unnotified")

    train.next(champion)
    champion.next(evaluate)
    none.next(evaluate)
    evaluate.next(gate)
    gate.next(
        choice("Passed", [(equals("$.gate.verdict.outcome", "passed"), register)], default=refused)
    )
    register.next(release)
    release.next(released)
    released.next(notify)
    refused.next(notify)
    notify.next(end)
    return render(
        begin, comment=f"Train, gate and release a {kind}", timeout_seconds=2 * DAY_SECONDS
    )


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


def _job_name(step: str) -> str:
    return f"States.Format('{{}}-{step}-{{}}', $.run, $.attempts.{step})"


def _run_uri(rest: str) -> str:
    return f"States.Format('{RUN}/{rest}', $.bucket, $.tenant, $.run)"


def _role() -> str:
    return "States.Format('arn:aws:iam::${Account}:role/nextbest-${Stage}-{}-training', $.tenant)"


def _tags() -> list[dict[str, str]]:
    return [
        {"Key": "nextbest:tenant", "Value.$": "$.tenant"},
        {"Key": "nextbest:run", "Value.$": "$.run"},
        {"Key": "nextbest:stage", "Value": "${Stage}"},
    ]


def _processing(name: str, step: str, inputs: list[dict[str, Any]], output: str) -> Task:
    parameters = {
        "ProcessingJobName.$": _job_name(name.lower()),
        "RoleArn.$": _role(),
        "AppSpecification": {
            "ImageUri": "${TrainingImage}",
            "ContainerEntrypoint": ["bash", f"{ML}/input/code/run_processing.sh"],
            "ContainerArguments": [step],
        },
        "Environment.$": "$.environment",
        "ProcessingInputs": [*inputs, _input("code", "S3Uri", "${SourceUri}/")],
        "ProcessingOutputConfig": {
            "Outputs": [
                {
                    "OutputName": output,
                    "S3Output": {
                        "S3Uri.$": _run_uri(output),
                        "LocalPath": f"{ML}/output/{output}",
                        "S3UploadMode": "EndOfJob",
                    },
                }
            ]
        },
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType.$": "$.resources.instance_type",
                "VolumeSizeInGB.$": "$.resources.volume_gb",
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds.$": "$.resources.stopping.MaxRuntimeInSeconds"},
        "Tags": _tags(),
    }
    return task(
        name,
        "sagemaker:createProcessingJob.sync",
        parameters,
        result_path=None,
        timeout_seconds=DAY_SECONDS,
    )


def _input(name: str, key: str, uri: str) -> dict[str, Any]:
    return {
        "InputName": name,
        "S3Input": {
            key: uri,
            "LocalPath": f"{ML}/input/{name}",
            "S3DataType": "S3Prefix",
            "S3InputMode": "File",
        },
    }


def _prepare_inputs() -> list[dict[str, Any]]:
    return [_input("dataset", "S3Uri.$", "States.Format('s3://{}/{}/', $.bucket, $.dataset)")]


def _evaluate_inputs() -> list[dict[str, Any]]:
    return [
        _input("prepared", "S3Uri.$", _run_uri("prepared/")),
        _input("model", "S3Uri.$", f"States.Format('{{}}/', {_artifacts()})"),
        _input("champion", "S3Uri.$", "$.champion.artifacts"),
    ]


def _artifacts() -> str:
    """Folder of the archives of the job that was trained, or that tuning found best."""
    return f"States.Format('{RUN}/train/{{}}/output', $.bucket, $.tenant, $.run, $.trained.job)"


def _train(kind: str) -> Task:
    script = (
        'States.StringToJson(\'{"sagemaker_program":"nextbest_job.py",'
        '"sagemaker_submit_directory":"${SourceUri}/sourcedir.tar.gz"}\')'
    )
    parameters = {
        "TrainingJobName.$": _job_name("train"),
        "RoleArn.$": _role(),
        "AlgorithmSpecification": {
            "TrainingImage": "${TrainingImage}",
            "TrainingInputMode": "File",
            "MetricDefinitions": [
                {"Name": name, "Regex": f"^{name}=([0-9.eE+-]+);"} for name in METRICS[kind]
            ],
        },
        "HyperParameters.$": f"States.JsonMerge($.hyperparameters, {script}, false)",
        "InputDataConfig": [
            {
                "ChannelName": "prepared",
                "DataSource": {
                    "S3DataSource": {
                        "S3DataType": "S3Prefix",
                        "S3DataDistributionType": "FullyReplicated",
                        "S3Uri.$": _run_uri("prepared/"),
                    }
                },
                "InputMode": "File",
            }
        ],
        "OutputDataConfig": {"S3OutputPath.$": _run_uri("train")},
        "CheckpointConfig": {"S3Uri.$": _run_uri("checkpoints/")},
        "EnableManagedSpotTraining.$": "$.resources.use_spot",
        "ResourceConfig": {
            "InstanceCount.$": "$.resources.instance_count",
            "InstanceType.$": "$.resources.instance_type",
            "VolumeSizeInGB.$": "$.resources.volume_gb",
        },
        "StoppingCondition.$": "$.resources.stopping",
        "Tags": _tags(),
    }
    return task(
        "Train",
        "sagemaker:createTrainingJob.sync",
        parameters,
        result_selector={"job.$": "$.TrainingJobName"},
        result_path="$.trained",
        timeout_seconds=DAY_SECONDS,
    )


def _wants_many_jobs() -> Any:
    """A run whose input says nothing of tuning jobs searches within its one training job."""
    return all_of(
        ChoiceRule.IsPresent(variable="$.resources.tuning", value=True),
        ChoiceRule.NumericGreaterThan(variable="$.resources.tuning.jobs", value=0),
    )


def _tune(kind: str, train: Task) -> Task:
    """The training job many times over, each from another seed of the search; the best one wins.

    A child gets no checkpoints: one place for all would hand one child's to another.
    """
    one = train.fields["parameters"]
    config = {
        "Strategy": "Grid",
        "HyperParameterTuningJobObjective": {"Type": "Maximize", "MetricName": METRICS[kind][0]},
        "ResourceLimits": {
            "MaxNumberOfTrainingJobs.$": "$.resources.tuning.jobs",
            "MaxParallelTrainingJobs.$": "$.resources.tuning.parallel",
        },
        "ParameterRanges": {
            "CategoricalParameterRanges": [
                {"Name": SEARCH_SEED, "Values.$": "$.resources.tuning.seeds"}
            ]
        },
        "TrainingJobEarlyStoppingType": "Off",
    }
    own = ("TrainingJobName.$", "HyperParameters.$", "CheckpointConfig", "Tags")
    definition = {key: value for key, value in one.items() if key not in own}
    definition["StaticHyperParameters.$"] = one["HyperParameters.$"]
    return task(
        "Tune",
        "sagemaker:createHyperParameterTuningJob.sync",
        {
            "HyperParameterTuningJobName.$": _tuning_job_name(kind),
            "HyperParameterTuningJobConfig": config,
            "TrainingJobDefinition": definition,
            "Tags": _tags(),
        },
        result_selector={"job.$": "$.BestTrainingJob.TrainingJobName"},
        result_path="$.trained",
        timeout_seconds=DAY_SECONDS,
    )


def _tuning_job_name(kind: str) -> str:
    """A run's name without its kind, and the attempt: a tuning job's name has 32 characters."""
    first = kind.count("-") + 1
    parts = [f"States.ArrayGetItem(States.StringSplit($.run, '-'), {first + n})" for n in (0, 1)]
    return f"States.Format('{{}}-{{}}-{{}}', {', '.join(parts)}, $.attempts.tune)"


def _function(decision: str) -> str:
    return f"States.Format('nextbest-${{Stage}}-{{}}-{decision}', $.tenant)"


def _read_champion(decision: str) -> Task:
    return task(
        "ReadChampion",
        "aws-sdk:lambda:getFunctionConfiguration",
        {"FunctionName.$": _function(decision), "Qualifier": "live"},
        result_selector={
            "artifacts.$": "States.Format('{}/', $.Environment.Variables.NEXTBEST_ARTIFACTS)"
        },
        result_path="$.champion",
    )


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
    model = f"States.Format('{{}}/model.tar.gz', {_artifacts()})"
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
                "artifacts.$": _artifacts(),
                "golden.$": _run_uri("evaluation/golden.json"),
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
