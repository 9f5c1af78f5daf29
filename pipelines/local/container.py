"""Runs one SageMaker job as a process under the container contract, S3 in and S3 out.

Training: channels, `SM_*` variables, script mode, `model.tar.gz`, checkpoints, `output/failure`.
Processing: inputs and outputs by path, entrypoint and arguments. `/opt/ml` is a folder of the
job's own; the variable `NEXTBEST_ML_ROOT` and the rewritten entrypoint say where.
Source: aws/sagemaker-training-toolkit, ENVIRONMENT_VARIABLES.md.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from inference.artifact import pack
from inference.errors import ArtifactError

STOP_GRACE_SECONDS = 5.0
CHECKPOINT_SECONDS = 2.0
_PR_SET_PDEATHSIG = 1
_ML = "/opt/ml"
_TOOLKITS_OWN = ("sagemaker_", "_tuning_")  # hyperparameters that a script is not given


class ClientFault(Exception):
    """A request that cannot be carried out: missing channel, missing source."""


@dataclass
class Outcome:
    """How a job ended: Completed, Failed or Stopped, and what it left."""

    status: str
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    secondary: str = "Completed"
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass
class Container:
    """One job's folder and process. `log` is told every line; `s3` is a boto3 client."""

    root: Path
    s3: Any
    log: Callable[[str], None]
    max_runtime_seconds: float
    metric_definitions: list[dict[str, str]] = field(default_factory=list)
    stop_requested: threading.Event = field(default_factory=threading.Event)
    process: subprocess.Popen[str] | None = None
    metrics: dict[str, float] = field(default_factory=dict)

    def run(self, command: list[str], *, cwd: Path, environment: dict[str, str]) -> Outcome:
        """Run to the end, a stop or the time limit."""
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=job_environment(self.root, environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
        reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        reader.start()
        timed_out = self._wait(self.process)
        reader.join(timeout=2)
        return self._outcome(self.process.returncode, timed_out=timed_out)

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stdout or ():
            self.log(line.rstrip("\n"))
            for definition in self.metric_definitions:
                found = re.search(definition["Regex"], line)
                if found:
                    self.metrics[definition["Name"]] = float(found[1])

    def _wait(self, process: subprocess.Popen[str]) -> bool:
        """Wait for the end; True if the time limit ended it."""
        deadline = time.monotonic() + self.max_runtime_seconds
        while process.poll() is None:
            if self.stop_requested.wait(0.05):
                self._terminate(process)
                return False
            if time.monotonic() > deadline:
                self._terminate(process)
                return True
        return False

    def _terminate(self, process: subprocess.Popen[str]) -> None:
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(timeout=STOP_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
            process.wait()

    def _outcome(self, code: int, *, timed_out: bool) -> Outcome:
        exit_code = 128 - code if code < 0 else code
        message = _text(self.root / "output" / "message")
        if timed_out:
            return Outcome("Stopped", exit_code, None, message, "MaxRuntimeExceeded", self.metrics)
        if self.stop_requested.is_set():
            return Outcome("Stopped", exit_code, None, message, "Stopped", self.metrics)
        if exit_code == 0:
            return Outcome("Completed", 0, None, message, "Completed", self.metrics)
        failure = _text(self.root / "output" / "failure") or "the process ended without a message"
        reason = f"AlgorithmError: {failure}, exit code: {exit_code}"
        return Outcome("Failed", exit_code, reason, message, "Failed", self.metrics)


def _text(path: Path) -> str | None:
    return path.read_text(errors="replace").strip()[:1024] if path.exists() else None


def _signal_group(process: subprocess.Popen[str], number: int) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def _die_with_parent() -> None:
    """In the child: be killed when the server is gone, however it went (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


# Run by the interpreter at its start: an image holds packages, not the checkout of somebody who
# has installed this project in editable mode. What lies outside the interpreter is not found.
_SITE = """import sys
def _inside(path):
    return path.startswith(({own!r}, sys.prefix, sys.base_prefix)) or path == ""
sys.path[:] = [path for path in sys.path if _inside(path)]
def _editable(hook):
    return str(getattr(hook, "__module__", "")).startswith("__editable__")
for hooks in (sys.meta_path, sys.path_hooks):
    hooks[:] = [hook for hook in hooks if not _editable(hook)]
"""


def job_environment(root: Path, given: dict[str, str]) -> dict[str, str]:
    """What a container sees: its own variables, this interpreter, nothing of the user's."""
    binaries = root / "bin"
    binaries.mkdir(parents=True, exist_ok=True)
    for name in ("python", "python3"):
        link = binaries / name
        if not link.exists():
            link.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', encoding="utf-8")
            link.chmod(0o755)
    site = root / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(_SITE.format(own=str(root)), encoding="utf-8")
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "HOME": str(root),  # not the user's: their AWS profile is none of the job's business
        "PATH": f"{binaries}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "2",
        "OPENBLAS_NUM_THREADS": "2",
        "NEXTBEST_ML_ROOT": str(root),
        "NEXTBEST_SKIP_INSTALL": "1",  # this interpreter is the image: it holds the requirements
        **{name: value.replace(_ML, str(root)) for name, value in given.items()},
        "PYTHONPATH": os.pathsep.join(filter(None, (str(site), given.get("PYTHONPATH")))),
    }


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
        _upload_archive(container, root / "model", f"{prefix}/model.tar.gz")
        if any((root / "output" / "data").rglob("*")):
            _upload_archive(container, root / "output" / "data", f"{prefix}/output.tar.gz")
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


def unpack_source(s3: Any, uri: str, folder: Path) -> None:
    """Download and unpack a source tarball."""
    folder.mkdir(parents=True, exist_ok=True)
    download(s3, uri, folder / ".source", what=f"source {uri}")
    archive = next((folder / ".source").iterdir())
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise ClientFault(f"{uri} is no source tarball: {error}") from error
    shutil.rmtree(folder / ".source")


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
            _download_manifest(container.s3, source["S3Uri"], target, what=what)
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
        [word.replace(_ML, str(root)) for word in words],
        cwd=root,
        environment=request.get("Environment", {}),
    )
    if outcome.status == "Completed":
        for output in outputs:
            folder = _local(root, output["S3Output"]["LocalPath"])
            upload(container.s3, folder, output["S3Output"]["S3Uri"])
    return outcome


def _local(root: Path, path: str) -> Path:
    return Path(path.replace(_ML, str(root), 1))


def download(s3: Any, uri: str, target: Path, *, what: str | None) -> None:
    """Every object under an S3 prefix, or the one object of that key.

    Nothing there is a `ClientFault` naming `what`; fine when `what` is None.
    """
    parsed = urlparse(uri)
    bucket, prefix = parsed.netloc, parsed.path.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    found = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            rest = item["Key"][len(prefix) :]
            if rest and not rest.startswith("/") and not prefix.endswith("/"):
                continue  # another key that merely begins alike
            name = rest.lstrip("/") or Path(item["Key"]).name
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, item["Key"], str(path))
            found += 1
    if not found and what is not None:
        raise ClientFault(f"no S3 objects found under {uri!r} given for {what}")


def _download_manifest(s3: Any, uri: str, target: Path, *, what: str) -> None:
    """The objects that a manifest lists: `[{"prefix": "s3://…/"}, "key below it", …]`.

    Source: docs.aws.amazon.com, "ProcessingS3Input", S3DataType.
    """
    parsed = urlparse(uri)
    body = s3.get_object(Bucket=parsed.netloc, Key=parsed.path.lstrip("/"))["Body"].read()
    start, *keys = json.loads(body)
    place = urlparse(start["prefix"])
    if not keys:
        raise ClientFault(f"the manifest {uri!r} given for {what} lists no object")
    for key in keys:
        path = target / key
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(place.netloc, f"{place.path.lstrip('/')}{key}", str(path))


def upload(s3: Any, folder: Path, uri: str) -> None:
    """Every file of a folder, under an S3 prefix."""
    parsed = urlparse(uri)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        key = f"{parsed.path.strip('/')}/{path.relative_to(folder)}"
        s3.upload_file(str(path), parsed.netloc, key)


def _upload_archive(container: Container, folder: Path, uri: str) -> None:
    archive = container.root / "archive.tar.gz"
    try:
        pack(folder, archive)
    except OSError as error:
        raise ArtifactError(f"could not pack {folder}: {error}") from error
    parsed = urlparse(uri)
    container.s3.upload_file(str(archive), parsed.netloc, parsed.path.lstrip("/"))
