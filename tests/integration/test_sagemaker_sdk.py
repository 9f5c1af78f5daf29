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
"""


def test_fit_streams_the_logs_and_ends(local_root, local_stage):
    run_job(local_stage, "for-the-sdk", "work")  # puts source and channel in place
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={**environment, **cloud.environment(local_root)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "loss=0.5;" in done.stdout
    assert "MODEL s3://jobs/sdk/sdk-fit/output/model.tar.gz" in done.stdout
    assert "REACHED OUT" not in done.stdout
