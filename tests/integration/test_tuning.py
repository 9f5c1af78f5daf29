"""Tuning jobs on the local stage: children that run, in parallel lanes, and the best one wins."""

import io
import tarfile
import time

import psutil
import pytest
from rich.console import Console

from pipelines import data, stacks
from pipelines.commands.runs import render_run
from pipelines.demo.shop import write_shop
from pipelines.errors import RunError
from pipelines.workspace import Workspace
from tests.integration.test_pipeline import job_process

SCRIPT = """
import sys, time
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert not any(name.startswith("--_") for name in arguments)
time.sleep(0.5)
if arguments["--x"] in arguments["--broken"].split("/"):
    sys.exit(1)
print(f"loss={(float(arguments['--x']) - 3) ** 2};", flush=True)
"""
GRID = {"CategoricalParameterRanges": [{"Name": "x", "Values": ["1", "2", "4", "9"]}]}


def put_source(stage):
    s3 = stage.client("s3")
    s3.create_bucket(Bucket="tuning")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("script.py")
        info.size = len(SCRIPT)
        tar.addfile(info, io.BytesIO(SCRIPT.encode()))
    s3.put_object(Bucket="tuning", Key="source.tar.gz", Body=buffer.getvalue())


def start(stage, name, *, strategy="Grid", ranges=GRID, count=4, parallel=2, broken="none"):
    put_source(stage)
    metric = {"Name": "loss", "Regex": "loss=([0-9.e-]+);"}
    return stage.client("sagemaker").create_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name,
        HyperParameterTuningJobConfig={
            "Strategy": strategy,
            "HyperParameterTuningJobObjective": {"Type": "Minimize", "MetricName": "loss"},
            "ResourceLimits": {
                "MaxNumberOfTrainingJobs": count,
                "MaxParallelTrainingJobs": parallel,
            },
            "ParameterRanges": ranges,
        },
        TrainingJobDefinition={
            "StaticHyperParameters": {
                "sagemaker_program": "script.py",
                "sagemaker_submit_directory": "s3://tuning/source.tar.gz",
                "broken": broken,
            },
            "AlgorithmSpecification": {
                "TrainingImage": "any",
                "TrainingInputMode": "File",
                "MetricDefinitions": [metric],
            },
            "RoleArn": "arn:aws:iam::000000000000:role/job-role",
            "OutputDataConfig": {"S3OutputPath": "s3://tuning/out"},
            "ResourceConfig": {
                "InstanceType": "ml.m5.large",
                "InstanceCount": 1,
                "VolumeSizeInGB": 1,
            },
            "StoppingCondition": {"MaxRuntimeInSeconds": 60, "MaxWaitTimeInSeconds": 90},
            "EnableManagedSpotTraining": True,
        },
    )


def ended(stage, name):
    client = stage.client("sagemaker")
    for _ in range(300):
        job = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
        if job["HyperParameterTuningJobStatus"] not in ("InProgress", "Stopping"):
            return job
        time.sleep(0.1)
    raise AssertionError(job)


def children(stage, name):
    return stage.client("sagemaker").list_training_jobs_for_hyper_parameter_tuning_job(
        HyperParameterTuningJobName=name
    )["TrainingJobSummaries"]


def most_at_once(jobs):
    spans = [(job["TrainingStartTime"], job["TrainingEndTime"]) for job in jobs]
    return max(sum(a <= start < b for a, b in spans) for start, _ in spans)


def test_the_best_child_wins_and_the_lanes_are_kept(local_stage):
    start(local_stage, "grid", broken="9")
    job = ended(local_stage, "grid")
    assert job["HyperParameterTuningJobStatus"] == "Completed"
    best = job["BestTrainingJob"]
    assert best["TunedHyperParameters"] == {"x": "2"}  # as good as 4, and earlier
    assert best["FinalHyperParameterTuningJobObjectiveMetric"]["Value"] == 1
    assert job["TrainingJobStatusCounters"]["NonRetryableError"] == 1
    assert job["ObjectiveStatusCounters"] == {"Succeeded": 3, "Pending": 0, "Failed": 1}
    jobs = children(local_stage, "grid")
    assert sorted(j["TunedHyperParameters"]["x"] for j in jobs) == ["1", "2", "4", "9"]
    assert most_at_once(jobs) == 2
    key = f"out/{best['TrainingJobName']}/output/model.tar.gz"
    local_stage.client("s3").head_object(Bucket="tuning", Key=key)


def test_random_draws_within_the_ranges(local_stage):
    ranges = {
        "ContinuousParameterRanges": [
            {"Name": "x", "MinValue": "0.1", "MaxValue": "9", "ScalingType": "Logarithmic"}
        ],
        "IntegerParameterRanges": [{"Name": "n", "MinValue": "1", "MaxValue": "2"}],
    }
    start(local_stage, "random", strategy="Random", ranges=ranges, count=3, parallel=3)
    assert ended(local_stage, "random")["HyperParameterTuningJobStatus"] == "Completed"
    for job in children(local_stage, "random"):
        assert 0.1 <= float(job["TunedHyperParameters"]["x"]) <= 9
        assert job["TunedHyperParameters"]["n"] in ("1", "2")


def test_when_no_child_succeeds_the_tuning_job_fails(local_stage):
    start(local_stage, "hopeless", broken="1/2/4/9", parallel=4)
    job = ended(local_stage, "hopeless")
    assert job["HyperParameterTuningJobStatus"] == "Failed"
    assert job["FailureReason"].startswith("No training job succeeded after 4 attempts")


def test_a_stopped_tuning_job_starts_no_more_children(local_stage):
    start(local_stage, "stopped-tuning", parallel=1)
    time.sleep(1)
    local_stage.client("sagemaker").stop_hyper_parameter_tuning_job(
        HyperParameterTuningJobName="stopped-tuning"
    )
    assert ended(local_stage, "stopped-tuning")["HyperParameterTuningJobStatus"] == "Stopped"
    assert len(children(local_stage, "stopped-tuning")) < 4


def test_bad_requests_are_refused(local_stage):
    client = local_stage.client("sagemaker")
    twice = {"CategoricalParameterRanges": [{"Name": "broken", "Values": ["1", "2"]}]}
    with pytest.raises(client.exceptions.ClientError, match="both static and tuned: broken"):
        start(local_stage, "twice", ranges=twice, count=2)
    with pytest.raises(client.exceptions.ClientError, match="the grid has 4 points"):
        start(local_stage, "miscounted", count=3)
    with pytest.raises(client.exceptions.ResourceNotFound):
        client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName="never")


QUICK = {"tuning_customers": "50", "evaluation_customers": "100"}


@pytest.fixture(scope="module")
def workspace(deployed_stage, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder, customers=300)
    stacks.add_tenant(deployed_stage, "tuned", progress=lambda line: None)
    data.import_datasets(deployed_stage, folder, tenant="tuned")
    return Workspace(deployed_stage, "tuned")


def test_a_run_tunes_on_many_machines_and_releases_the_best(workspace):
    run = workspace.train(tuning_jobs=3, tuning_parallel=2, **QUICK).wait(output=None)
    view = run.view
    names = [state.name for state in view.states]
    assert "Tune" in names
    assert "Train" not in names
    tuning = [job for job in view.jobs if job.type == "tuning"]
    trained = [job for job in view.jobs if job.type == "training"]
    assert [job.status for job in tuning] == ["Completed"]
    assert len(tuning[0].name) <= 32
    assert len(trained) == 3
    scores = {job.name: job.metrics["best_validation_ndcg"] for job in trained}
    assert tuning[0].metrics == {"best_validation_ndcg": pytest.approx(max(scores.values()))}
    live = next(model for model in workspace.models() if model.is_live)
    assert live.run == run.name
    best = min(name for name, score in scores.items() if score == max(scores.values()))
    assert f"/{best}/output/model.tar.gz" in live.model
    tags = workspace.stage.client("sagemaker").list_tags(
        ResourceArn=f"arn:aws:sagemaker:us-east-1:000000000000:training-job/{best}"
    )["Tags"]
    assert {"Key": "nextbest:tenant", "Value": "tuned"} in tags
    assert any("best_validation_ndcg" in line for line in run.logs())


def test_a_stopped_run_stops_its_tuning_job_and_the_children(workspace):
    run = workspace.train(tuning_jobs=4, tuning_parallel=1, **QUICK)
    for view in run.watch():
        if any(job.type == "training" for job in view.jobs):
            break
    run.stop()
    for _ in range(100):
        jobs = [job for job in run.view.jobs if job.type != "processing"]
        if all(job.has_ended for job in jobs):
            break
        time.sleep(0.1)
    assert [job.status for job in jobs] == ["Stopped", "Stopped"]
    assert run.view.summary == "stopped"


def test_a_tuned_run_of_which_every_child_dies_says_why(workspace):
    run = workspace.train(tuning_jobs=2, tuning_parallel=1, **QUICK)
    for _ in range(2):
        process = job_process(run)
        process.kill()
        psutil.wait_procs([process], timeout=5)
    with pytest.raises(RunError, match="No training job succeeded after 2 attempts"):
        run.wait(output=None)
    printed = io.StringIO()
    Console(file=printed, width=200).print(render_run(run.view, None))
    assert "exit code: 137" in printed.getvalue()
