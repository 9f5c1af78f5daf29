"""From pictures to similar products on the local stage, and a training job that is taken away."""

import signal
import time

import numpy as np
import psutil
import pytest

pytest.importorskip("torch", reason="the extra `image` is not installed: make images")

from pipelines import data, stacks
from pipelines.workspace import Workspace
from tests.unit.training.image.shapes import QUICK, encoded, pixels_and_labels


@pytest.fixture(scope="module")
def workspace(deployed_stage, tmp_path_factory):
    """A tenant with a folder of pictures by class."""
    folder = tmp_path_factory.mktemp("pictures")
    pixels, labels = pixels_and_labels(240)
    for number, (one, label) in enumerate(zip(pixels, labels, strict=True)):
        (folder / label).mkdir(exist_ok=True)
        (folder / label / f"{number}.png").write_bytes(encoded(one))
    stacks.add_tenant(deployed_stage, "gallery", progress=lambda line: None)
    data.import_datasets(deployed_stage, folder, tenant="gallery")
    return Workspace(deployed_stage, "gallery")


def model_of(run, workspace, tmp_path):
    """Embeddings of the model that a run has trained."""
    from inference.artifact import unpack

    live = next(m for m in workspace.models(kind="image-model") if m.run == run.name)
    key = live.model.removeprefix(f"s3://{workspace.stage.bucket}/")
    archive = tmp_path / f"{run.name}.tar.gz"
    workspace.stage.client("s3").download_file(workspace.stage.bucket, key, str(archive))
    unpack(archive, tmp_path / run.name)
    return np.load(tmp_path / run.name / "embeddings.npy")


def training_process(run):
    for _ in range(3000):
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if run.name in words and "nextbest_job.py" in words:
                return process
        time.sleep(0.02)
    raise AssertionError("no training process")


def wait_for_checkpoint(workspace, run):
    prefix = f"{workspace.stage.run_prefix('gallery', run.name)}/checkpoints/"
    s3 = workspace.stage.client("s3")
    for _ in range(600):
        found = s3.list_objects_v2(Bucket=workspace.stage.bucket, Prefix=prefix)
        if found.get("KeyCount"):
            return
        time.sleep(0.05)
    raise AssertionError("no checkpoint")


def test_a_job_that_is_taken_away_goes_on_and_ends_in_the_same_model(workspace, tmp_path):
    settings = {**QUICK, "epochs": "60"}
    undisturbed = workspace.train("image-model", **settings).wait(output=None)
    assert undisturbed.view.outcome == "released"
    run = workspace.train("image-model", **settings)
    process = training_process(run)
    wait_for_checkpoint(workspace, run)
    process.send_signal(signal.SIGTERM)
    run.wait(output=None)
    jobs = {job.name.removeprefix(f"{run.name}-"): job.status for job in run.view.jobs}
    assert (jobs["train-0"], jobs["train-1"]) == ("Failed", "Completed")
    expected = model_of(undisturbed, workspace, tmp_path)
    assert (model_of(run, workspace, tmp_path) == expected).all()
    assert any("resumed from a checkpoint" in line for line in run.logs())
