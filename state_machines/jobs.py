"""The SageMaker jobs of a run, as states: processing, training, tuning. Pure definitions.

Names, keys and tags all come from the run's name and the attempt; `train_model` puts the states in
order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stepfunctions.steps import Task

from state_machines import SEARCH_SEED
from state_machines.states import task

DAY_SECONDS = 86_400
ML = "/opt/ml/processing"
RUN = "s3://{}/tenants/{}/runs/{}"
METRICS = {
    "recommender": ("best_validation_ndcg", "validation_ndcg"),
    "nudge-policy": ("validation_loss",),
    "image-model": ("train_loss", "epoch", "images_per_second"),
}


def _job_name(step: str) -> str:
    return f"States.Format('{{}}-{step}-{{}}', $.run, $.attempts.{step})"


SYNC_CHANNELS = ("plan", "archive", "last", "interactions", "nudges", "suppression")
SYNC_OUTPUTS = ("sync", "interactions", "nudges")


def run_uri(rest: str) -> str:
    return f"States.Format('{RUN}/{rest}', $.bucket, $.tenant, $.run)"


def _role() -> str:
    return "States.Format('arn:aws:iam::${Account}:role/nextbest-${Stage}-{}-training', $.tenant)"


def _tags(run: str = "$.run") -> list[dict[str, str]]:
    return [
        {"Key": "nextbest:tenant", "Value.$": "$.tenant"},
        {"Key": "nextbest:run", "Value.$": run},
        {"Key": "nextbest:stage", "Value": "${Stage}"},
    ]


def _processing(
    name: str,
    step: str,
    inputs: list[dict[str, Any]],
    outputs: Mapping[str, str],
    *,
    job_name: str,
    environment: str = "$.environment",
    run: str = "$.run",
) -> Task:
    """`outputs` is by name where each goes."""
    parameters = {
        "ProcessingJobName.$": job_name,
        "RoleArn.$": _role(),
        "AppSpecification": {
            "ImageUri": "${TrainingImage}",
            "ContainerEntrypoint": ["bash", f"{ML}/input/code/run_processing.sh"],
            "ContainerArguments": [step],
        },
        "Environment.$": environment,
        "ProcessingInputs": [*inputs, _input("code", "S3Uri", "${SourceUri}/")],
        "ProcessingOutputConfig": {"Outputs": [_output(*output) for output in outputs.items()]},
        "ProcessingResources": {
            "ClusterConfig": {
                "InstanceCount": 1,
                "InstanceType.$": "$.resources.instance_type",
                "VolumeSizeInGB.$": "$.resources.volume_gb",
            }
        },
        "StoppingCondition": {"MaxRuntimeInSeconds.$": "$.resources.stopping.MaxRuntimeInSeconds"},
        "Tags": _tags(run),
    }
    return task(
        name,
        "sagemaker:createProcessingJob.sync",
        parameters,
        result_path=None,
        timeout_seconds=DAY_SECONDS,
    )


def _input(name: str, key: str, uri: str, *, data_type: str = "S3Prefix") -> dict[str, Any]:
    return {
        "InputName": name,
        "S3Input": {
            key: uri,
            "LocalPath": f"{ML}/input/{name}",
            "S3DataType": data_type,
            "S3InputMode": "File",
        },
    }


def _output(name: str, uri: str) -> dict[str, Any]:
    return {
        "OutputName": name,
        "S3Output": {
            "S3Uri.$": uri,
            "LocalPath": f"{ML}/output/{name}",
            "S3UploadMode": "EndOfJob",
        },
    }


def prepare_job(package: str, *, channels: Sequence[str] = ()) -> Task:
    """A data set → coded arrays with a holdout. `channels` are what else it reads, the artefacts of
    other live models and who was erased, which states before this one have found."""
    dataset = _input("dataset", "S3Uri.$", "States.Format('s3://{}/{}/', $.bucket, $.dataset)")
    more = [_input(name, "S3Uri.$", f"$.{name}.artifacts") for name in channels]
    return _processing(
        "Prepare",
        f"{package}.prepare",
        [dataset, *more],
        {"prepared": run_uri("prepared")},
        job_name=_job_name("prepare"),
    )


def sync_job(plan: str) -> Task:
    """What came into the archive → data sets. `plan` is where the state's data has the plan, whose
    inputs and outputs are URIs; the archive's is a manifest of the objects not read before."""
    inputs = [
        _input(
            name,
            "S3Uri.$",
            f"{plan}.inputs.{name}",
            data_type="ManifestFile" if name == "archive" else "S3Prefix",
        )
        for name in SYNC_CHANNELS
    ]
    return _processing(
        "Sync",
        "sync",
        inputs,
        {name: f"{plan}.outputs.{name}" for name in SYNC_OUTPUTS},
        job_name="States.Format('{}-sync', $.stamp.run)",
        environment="States.JsonMerge($.names.environment, $.events.environment, false)",
        run="$.stamp.run",
    )


def evaluate_job(package: str) -> Task:
    """The trained model beside baselines and champion; its verdict is what the gate reads."""
    inputs = [
        _input("prepared", "S3Uri.$", run_uri("prepared/")),
        _input("model", "S3Uri.$", f"States.Format('{{}}/', {artifacts()})"),
        _input("champion", "S3Uri.$", "$.champion.artifacts"),
    ]
    return _processing(
        "Evaluate",
        f"{package}.evaluate",
        inputs,
        {"evaluation": run_uri("evaluation")},
        job_name=_job_name("evaluate"),
    )


def artifacts() -> str:
    """Folder of the archives of the job that was trained, or that tuning found best."""
    return f"States.Format('{RUN}/train/{{}}/output', $.bucket, $.tenant, $.run, $.trained.job)"


def train_job(kind: str) -> Task:
    """One job that trains and, where the kind searches, tunes within itself."""
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
                        "S3Uri.$": run_uri("prepared/"),
                    }
                },
                "InputMode": "File",
            }
        ],
        "OutputDataConfig": {"S3OutputPath.$": run_uri("train")},
        "CheckpointConfig": {"S3Uri.$": run_uri("checkpoints/")},
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


def tune_job(kind: str, train: Task) -> Task:
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
