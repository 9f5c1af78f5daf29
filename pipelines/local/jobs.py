"""Carries out one SageMaker job under the container contract, S3 in and S3 out.

Training: channels, `SM_*` variables, script mode, `model.tar.gz`, checkpoints, `output/failure`.
Processing: inputs and outputs by path, entrypoint and arguments.
Source: aws/sagemaker-training-toolkit, ENVIRONMENT_VARIABLES.md.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

from pipelines.local.container import ML, Container, Outcome
from pipelines.local.transfers import (
    ClientFault,
    download,
    download_manifest,
    unpack_source,
    upload,
    upload_archive,
)

CHECKPOINT_SECONDS = 2.0
_TOOLKITS_OWN = ("sagemaker_", "_tuning_")  # hyperparameters that a script is not given


def run_training(container: Container, request: dict[str, Any]) -> Outcome:
    """A training job from its CreateTrainingJob request."""
    root = container.root
    parameters = dict(request.get("HyperParameters", {}))
    channels = [c["ChannelName"] for c in request.get("InputDataConfig", [])]
    for channel in request.get("InputDataConfig", []):
        source = channel["DataSource"]["S3DataSource"]
        target = root / "input" / "data" / channel["ChannelName"]
        download(container.s3, source["S3Uri"], target, what=f"channel {channel['ChannelName']}")
    _write_configuration(root, request, parameters, channels)
    checkpoints = request.get("CheckpointConfig", {}).get("S3Uri")
    if checkpoints:
        download(container.s3, checkpoints, root / "checkpoints", what=None)
    command, code = _script(container, request, parameters)
    with _Checkpoints(container, checkpoints):
        outcome = container.run(
            command, cwd=code, environment=_training_environment(root, request, parameters, code)
        )
    if outcome.status != "Failed":
        target = f"{request['OutputDataConfig']['S3OutputPath'].rstrip('/')}"
        prefix = f"{target}/{request['TrainingJobName']}/output"
        upload_archive(container.s3, root / "model", f"{prefix}/model.tar.gz", scratch=root)
        if any((root / "output" / "data").rglob("*")):
            upload_archive(
                container.s3, root / "output" / "data", f"{prefix}/output.tar.gz", scratch=root
            )
    return outcome


class _Checkpoints:
    """Copies the checkpoint folder to S3 every few seconds and at the end."""

    def __init__(self, container: Container, uri: str | None) -> None:
        self.container, self.uri = container, uri
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        if self.uri:
            self.thread.start()

    def __exit__(self, *_: object) -> None:
        if self.uri:
            self.done.set()
            self.thread.join()

    def _run(self) -> None:
        ended = False
        while not ended:
            ended = self.done.wait(CHECKPOINT_SECONDS)
            upload(self.container.s3, self.container.root / "checkpoints", str(self.uri))


def _write_configuration(
    root: Path, request: dict[str, Any], parameters: dict[str, str], channels: list[str]
) -> None:
    folder = root / "input" / "config"
    for name in ("model", "output/data", "checkpoints", "input/config"):
        (root / name).mkdir(parents=True, exist_ok=True)
    resources = {
        "current_host": "algo-1",
        "hosts": ["algo-1"],
        "network_interface_name": "lo",
        "current_instance_type": request["ResourceConfig"].get("InstanceType", "local"),
    }
    inputs = {name: {"TrainingInputMode": "File"} for name in channels}
    for name, content in (
        ("hyperparameters", parameters),
        ("resourceconfig", resources),
        ("inputdataconfig", inputs),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def _unquoted(value: str) -> str:
    return str(json.loads(value)) if value.startswith('"') else value


def _script(
    container: Container, request: dict[str, Any], parameters: dict[str, str]
) -> tuple[list[str], Path]:
    """Script mode: unpack `sagemaker_submit_directory`, run `sagemaker_program` with arguments."""
    try:
        program = _unquoted(parameters["sagemaker_program"])
        source = _unquoted(parameters["sagemaker_submit_directory"])
    except KeyError as error:
        raise ClientFault(
            f"hyperparameter {error} is missing: the local stage runs jobs in script mode"
        ) from error
    code = container.root / "code"
    unpack_source(container.s3, source, code)
    arguments: list[str] = []
    for name, value in sorted(parameters.items()):
        if not name.startswith(_TOOLKITS_OWN):
            arguments += [f"--{name}", _unquoted(value)]
    return [sys.executable, program, *arguments], code


def _training_environment(
    root: Path, request: dict[str, Any], parameters: dict[str, str], code: Path
) -> dict[str, str]:
    channels = [c["ChannelName"] for c in request.get("InputDataConfig", [])]
    own = {k: _unquoted(v) for k, v in parameters.items() if not k.startswith(_TOOLKITS_OWN)}
    return {
        **request.get("Environment", {}),
        "SM_MODEL_DIR": str(root / "model"),
        "SM_OUTPUT_DIR": str(root / "output"),
        "SM_OUTPUT_DATA_DIR": str(root / "output" / "data"),
        "SM_INPUT_DIR": str(root / "input"),
        "SM_INPUT_CONFIG_DIR": str(root / "input" / "config"),
        "SM_CHANNELS": json.dumps(channels),
        "SM_HPS": json.dumps(own),
        "SM_NUM_GPUS": "0",
        "SM_NUM_CPUS": str(os.cpu_count()),
        "SM_HOSTS": '["algo-1"]',
        "SM_CURRENT_HOST": "algo-1",
        "SM_MODULE_DIR": _unquoted(parameters.get("sagemaker_submit_directory", "")),
        "TRAINING_JOB_NAME": request["TrainingJobName"],
        "PYTHONPATH": str(code),
        **{f"SM_CHANNEL_{c.upper()}": str(root / "input" / "data" / c) for c in channels},
        **{f"SM_HP_{name.upper()}": value for name, value in own.items()},
    }


def run_processing(container: Container, request: dict[str, Any]) -> Outcome:
    """A processing job from its CreateProcessingJob request."""
    root = container.root
    for given in request.get("ProcessingInputs", []):
        source = given["S3Input"]
        target = _local(root, source["LocalPath"])
        what = f"input {given['InputName']}"
        if source.get("S3DataType") == "ManifestFile":
            download_manifest(container.s3, source["S3Uri"], target, what=what)
        else:
            download(container.s3, source["S3Uri"], target, what=what)
    outputs = request.get("ProcessingOutputConfig", {}).get("Outputs", [])
    for output in outputs:
        _local(root, output["S3Output"]["LocalPath"]).mkdir(parents=True, exist_ok=True)
    application = request["AppSpecification"]
    words = application.get("ContainerEntrypoint", []) + application.get("ContainerArguments", [])
    if not words:
        raise ClientFault("a processing job needs a ContainerEntrypoint on the local stage")
    (root / "config").mkdir(parents=True, exist_ok=True)
    (root / "config" / "processingjobconfig.json").write_text(json.dumps(request, default=str))
    outcome = container.run(
        [word.replace(ML, str(root)) for word in words],
        cwd=root,
        environment=request.get("Environment", {}),
    )
    if outcome.status == "Completed":
        for output in outputs:
            folder = _local(root, output["S3Output"]["LocalPath"])
            upload(container.s3, folder, output["S3Output"]["S3Uri"])
    return outcome


def _local(root: Path, path: str) -> Path:
    return Path(path.replace(ML, str(root), 1))
