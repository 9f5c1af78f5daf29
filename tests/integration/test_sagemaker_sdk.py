"""The SageMaker SDK, unchanged, against the local stage; nothing leaves this machine."""

import os
import subprocess
import sys

from pipelines.local import cloud
from tests.integration.test_local_cloud import run_job

PROGRAM = """
import socket
connect = socket.socket.connect
def guarded(self, address):
    host = address[0] if isinstance(address, tuple) else "127.0.0.1"
    if host not in ("127.0.0.1", "::1", "localhost"):
        print("REACHED OUT TO", address, flush=True)
        raise OSError("no network here")
    return connect(self, address)
socket.socket.connect = guarded

import sagemaker
from sagemaker.estimator import Estimator

session = sagemaker.Session(default_bucket="jobs")
estimator = Estimator(
    image_uri="any",
    role="arn:aws:iam::000000000000:role/job-role",
    instance_count=1,
    instance_type="ml.m5.large",
    output_path="s3://jobs/sdk",
    sagemaker_session=session,
    hyperparameters={
        "sagemaker_program": "script.py",
        "sagemaker_submit_directory": "s3://jobs/source.tar.gz",
        "mode": "work",
    },
)
estimator.fit({"data": "s3://jobs/in/"}, job_name="sdk-fit", logs="All", wait=True)
print("MODEL", estimator.model_data)

from sagemaker.tuner import ContinuousParameter, HyperparameterTuner
tuner = HyperparameterTuner(
    estimator,
    "loss",
    {"x": ContinuousParameter(0.1, 1.0)},
    metric_definitions=[{"Name": "loss", "Regex": "loss=([0-9.]+);"}],
    objective_type="Minimize",
    max_jobs=2,
    max_parallel_jobs=2,
)
tuner.fit({"data": "s3://jobs/in/"}, job_name="sdk-tune", wait=True)
print("BEST", tuner.best_training_job())
"""


def test_fit_streams_the_logs_and_ends_and_a_tuner_finds_the_best(local_root, local_stage):
    run_job(local_stage, "for-the-sdk", "work")  # puts source and channel in place
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={**environment, **cloud.environment(local_root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "loss=0.5;" in done.stdout
    assert "MODEL s3://jobs/sdk/sdk-fit/output/model.tar.gz" in done.stdout
    assert "BEST sdk-tune-00" in done.stdout
    assert "REACHED OUT" not in done.stdout
