"""The local stage: up, down, side by side, stale pid, port taken, killed; and its jobs."""

import io
import json
import os
import shutil
import signal
import socket
import tarfile
import time

import psutil
import pytest

from pipelines.jobs import find_jobs, job_log, last_log_line
from pipelines.local import cloud
from pipelines.stage import open_stage


@pytest.fixture
def root(tmp_path):
    yield tmp_path
    cloud.down(tmp_path)


def test_down_leaves_no_process_and_no_temporary_folder(root):
    found = cloud.up(root)
    assert found.ready_seconds < 5 * 3  # noise: the promise is 5 s on an idle machine
    assert cloud.up(root).pid == found.pid
    assert cloud.down(root)
    assert not psutil.pid_exists(found.pid)
    assert not (root / ".nextbest" / "tmp").exists()
    assert not cloud.down(root)


def test_a_stale_pid_and_a_taken_port_are_no_obstacle_and_state_is_kept(root):
    first = cloud.up(root)
    stage = open_stage("local", root=root)
    stage.client("s3").create_bucket(Bucket="kept")
    cloud.down(root)
    record = {"pid": os.getpid(), "port": first.port, "created": 0.0}
    (root / ".nextbest" / "server.json").write_text(json.dumps(record))
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", first.port))
        thief.listen()
        second = cloud.up(root)
        assert second.port != first.port
    names = [
        b["Name"] for b in open_stage("local", root=root).client("s3").list_buckets()["Buckets"]
    ]
    assert names == ["kept"]


def test_a_killed_server_is_started_again(root):
    first = cloud.up(root)
    os.kill(first.pid, signal.SIGKILL)
    psutil.wait_procs(
        [psutil.Process(first.pid)] if psutil.pid_exists(first.pid) else [], timeout=5
    )
    assert cloud.status(root) is None
    assert cloud.up(root).pid != first.pid


@pytest.mark.parametrize("lost", ["not JSON", ""])
def test_a_lost_record_does_not_make_a_second_server(root, lost):
    first = cloud.up(root)
    (root / ".nextbest" / "server.json").write_text(lost)
    assert cloud.status(root) is None
    second = cloud.up(root)
    assert second.pid != first.pid
    assert not psutil.pid_exists(first.pid)
    (root / ".nextbest" / "server.json").unlink()
    assert cloud.down(root)
    assert not psutil.pid_exists(second.pid)


def test_a_stage_whose_folder_was_removed_ends_and_leaves_nothing_for_the_next(root):
    """`rm -rf` of a checkout, and a fresh clone in its place, once met the old one's models."""
    first = cloud.up(root)
    open_stage("local", root=root).client("s3").create_bucket(Bucket="old")
    shutil.rmtree(root / ".nextbest")
    psutil.Process(first.pid).wait(timeout=15)
    assert not psutil.pid_exists(first.pid)
    assert not (root / ".nextbest").exists()
    cloud.up(root)
    assert open_stage("local", root=root).client("s3").list_buckets()["Buckets"] == []


def test_two_folders_do_not_disturb_each_other(root, local_stage):
    other = open_stage("local", root=root)
    assert other.endpoint_url != local_stage.endpoint_url
    other.client("s3").create_bucket(Bucket="only-here")
    names = [b["Name"] for b in local_stage.client("s3").list_buckets()["Buckets"]]
    assert "only-here" not in names


SCRIPT = """
import os, sys, time, pathlib, json
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert "AWS_SECRET_ACCESS_KEY" not in os.environ
assert os.environ["HOME"] == os.environ["NEXTBEST_ML_ROOT"]
print("begin", flush=True)
print("loss=0.5;", flush=True)
pathlib.Path(os.environ["SM_MODEL_DIR"], "channel").write_text(
    ",".join(sorted(os.listdir(os.environ["SM_CHANNEL_DATA"]))))
root = pathlib.Path(os.environ["NEXTBEST_ML_ROOT"])
(root / "checkpoints" / "step").write_text("1")
mode = arguments["--mode"]
if mode == "fail":
    (root / "output" / "failure").write_text("DataQualityError: no good")
    sys.exit(1)
if mode == "kill":
    os.kill(os.getpid(), 9)
if mode == "hang":
    time.sleep(60)
"""


def run_job(stage, name, mode, *, runtime=60, channel="in/", wait=True):
    s3, sagemaker = stage.client("s3"), stage.client("sagemaker")
    bucket = "jobs"
    s3.create_bucket(Bucket=bucket)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("script.py")
        info.size = len(SCRIPT)
        tar.addfile(info, io.BytesIO(SCRIPT.encode()))
    s3.put_object(Bucket=bucket, Key="source.tar.gz", Body=buffer.getvalue())
    s3.put_object(Bucket=bucket, Key="in/a.txt", Body=b"a")
    source = {"S3DataType": "S3Prefix", "S3Uri": f"s3://{bucket}/{channel}"}
    sagemaker.create_training_job(
        TrainingJobName=name,
        RoleArn="arn:aws:iam::000000000000:role/job-role",
        AlgorithmSpecification={
            "TrainingImage": "any",
            "TrainingInputMode": "File",
            "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+);"}],
        },
        HyperParameters={
            "sagemaker_program": "script.py",
            "sagemaker_submit_directory": f"s3://{bucket}/source.tar.gz",
            "mode": mode,
        },
        InputDataConfig=[{"ChannelName": "data", "DataSource": {"S3DataSource": source}}],
        OutputDataConfig={"S3OutputPath": f"s3://{bucket}/out"},
        CheckpointConfig={"S3Uri": f"s3://{bucket}/checkpoints/{name}"},
        ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 1},
        StoppingCondition={"MaxRuntimeInSeconds": runtime},
    )
    return ended(stage, name) if wait else None


def ended(stage, name):
    client = stage.client("sagemaker")
    for _ in range(300):
        job = client.describe_training_job(TrainingJobName=name)
        if job["TrainingJobStatus"] in ("Completed", "Failed", "Stopped"):
            return job
        time.sleep(0.1)
    raise AssertionError(job)


def test_a_training_job_really_runs(local_stage):
    job = run_job(local_stage, "good", "work")
    assert job["TrainingJobStatus"] == "Completed", job.get("FailureReason")
    assert job["FinalMetricDataList"][0]["Value"] == pytest.approx(0.5)
    s3 = local_stage.client("s3")
    body = s3.get_object(Bucket="jobs", Key="out/good/output/model.tar.gz")["Body"].read()
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert tar.extractfile("channel").read() == b"a.txt"
    assert s3.get_object(Bucket="jobs", Key="checkpoints/good/step")["Body"].read() == b"1"
    events = local_stage.client("logs").filter_log_events(
        logGroupName="/aws/sagemaker/TrainingJobs", logStreamNamePrefix="good/"
    )["events"]
    assert "loss=0.5;" in [event["message"] for event in events]


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("fail", "AlgorithmError: DataQualityError: no good, exit code: 1"),
        ("kill", "exit code: 137"),
    ],
)
def test_a_failed_job_says_why(local_stage, mode, reason):
    job = run_job(local_stage, f"bad-{mode}", mode)
    assert job["TrainingJobStatus"] == "Failed"
    assert reason in job["FailureReason"]


def test_a_missing_channel_is_a_client_error(local_stage):
    job = run_job(local_stage, "no-channel", "work", channel="nothing/")
    assert job["FailureReason"].startswith("ClientError: no S3 objects found")


def test_the_time_limit_stops_a_job_and_keeps_its_model(local_stage):
    job = run_job(local_stage, "slow", "hang", runtime=1)
    assert (job["TrainingJobStatus"], job["SecondaryStatus"]) == ("Stopped", "MaxRuntimeExceeded")
    local_stage.client("s3").head_object(Bucket="jobs", Key="out/slow/output/model.tar.gz")


def test_a_stopped_job_is_stopped(local_stage):
    run_job(local_stage, "stopped", "hang", wait=False)
    time.sleep(1)
    local_stage.client("sagemaker").stop_training_job(TrainingJobName="stopped")
    assert ended(local_stage, "stopped")["TrainingJobStatus"] == "Stopped"


def test_a_job_name_is_used_once(local_stage):
    client = local_stage.client("sagemaker")
    run_job(local_stage, "once", "work")
    with pytest.raises(client.exceptions.ResourceInUse):
        run_job(local_stage, "once", "work")
    with pytest.raises(client.exceptions.ClientError, match="Could not find requested job"):
        client.describe_training_job(TrainingJobName="never")


def test_the_last_log_line_is_the_newest(local_stage):
    run_job(local_stage, "talks", "work")
    job = next(job for job in find_jobs(local_stage, "talks") if job.name == "talks")
    lines = [line for _, line in job_log(local_stage, job)]
    assert lines
    assert last_log_line(local_stage, job) == lines[-1]


def test_a_job_s_log_is_its_own(local_stage):
    """Jobs share a log group; their lines were once told as each other's."""
    for name in ("speaks", "speaks-too"):
        run_job(local_stage, name, "work")
    client = local_stage.client("logs")
    for name in ("speaks", "speaks-too"):
        job = next(job for job in find_jobs(local_stage, name) if job.name == name)
        found = [line for _, line in job_log(local_stage, job)]
        stream = next(
            stream["logStreamName"]
            for stream in client.describe_log_streams(logGroupName="/aws/sagemaker/TrainingJobs")[
                "logStreams"
            ]
            if stream["logStreamName"].startswith(f"{name}/")
        )
        own = client.get_log_events(
            logGroupName="/aws/sagemaker/TrainingJobs", logStreamName=stream, startFromHead=True
        )["events"]
        assert found == [event["message"].rstrip() for event in own]
