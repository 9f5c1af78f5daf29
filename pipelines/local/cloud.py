"""The local stage from outside: start, find, stop and forget the small cloud of a folder.

State lives under `<root>/.nextbest/`: `server.json` (pid, port), `state/`, `s3/`, `tmp/`, `log`.
Used by `nextbest local` and by `open_stage`.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from pipelines import loopback
from pipelines.errors import StageError

FOLDER = ".nextbest"
READY_SECONDS = 30.0
STOP_SECONDS = 15.0
HOST = "127.0.0.1"
_SERVER = "pipelines.local.server"
ACCOUNT = "000000000000"
_CREATED_TOLERANCE_SECONDS = 1.0


@dataclass(frozen=True)
class CloudStatus:
    """A running local stage. `started` says whether this call started it."""

    endpoint_url: str
    port: int
    pid: int
    started: bool
    ready_seconds: float
    memory_mb: float
    up_seconds: float


def folder_of(root: Path) -> Path:
    return root.resolve() / FOLDER


def up(root: Path) -> CloudStatus:
    """Start the local stage of `root`, or find it running. Raises `StageError`."""
    folder = folder_of(root)
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        running = status(root)
        return running or _start(folder)


def status(root: Path) -> CloudStatus | None:
    """The running stage of `root`, or None. A stale or reused pid is not taken for it."""
    folder = folder_of(root)
    process = _process(folder)
    if process is None:
        return None
    port = _record(folder)["port"]
    if not _answers(port):
        return None
    return CloudStatus(
        endpoint_url=f"http://{HOST}:{port}",
        port=port,
        pid=process.pid,
        started=False,
        ready_seconds=0.0,
        memory_mb=process.memory_info().rss / 2**20,
        up_seconds=time.time() - process.create_time(),
    )


def down(root: Path) -> bool:
    """Stop the stage of `root` with everything it started; False if it was not running."""
    folder = folder_of(root)
    if not folder.exists():
        return False
    with _locked(folder):
        found = _servers(folder)
        for process in found:
            _stop(process)
        shutil.rmtree(folder / "tmp", ignore_errors=True)
        (folder / "server.json").unlink(missing_ok=True)
    return bool(found)


def reset(root: Path) -> None:
    """Stop the stage and forget its state; the cache of built packages stays."""
    down(root)
    for name in ("state", "s3", "jobs", "log"):
        target = folder_of(root) / name
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)


def environment(root: Path) -> dict[str, str]:
    """What boto3 and the SageMaker SDK need to reach the stage of `root`, telemetry off."""
    return {
        **loopback.exceptions(os.environ),
        "AWS_ENDPOINT_URL": up(root).endpoint_url,
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "SAGEMAKER_SUPPRESS_V2_WARNING": "1",
        "SAGEMAKER_USER_CONFIG_OVERRIDE": str(_sagemaker_configuration(folder_of(root))),
    }


def _sagemaker_configuration(folder: Path) -> Path:
    path = folder / "sagemaker.yaml"
    lines = ("SchemaVersion: '1.0'", "SageMaker:", "  PythonSDK:", "    Modules:")
    path.write_text("\n".join([*lines, "      TelemetryOptOut: true", ""]), encoding="utf-8")
    return path


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One `up` or `down` at a time."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _record(folder: Path) -> dict:
    try:
        return dict(json.loads((folder / "server.json").read_text(encoding="utf-8")))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}


def _process(folder: Path) -> psutil.Process | None:
    """The server's process if the recorded pid is still the one that was started."""
    record = _record(folder)
    try:
        process = psutil.Process(record["pid"])
        same = abs(process.create_time() - record["created"]) < _CREATED_TOLERANCE_SECONDS
    except (KeyError, psutil.NoSuchProcess):
        return None
    return process if same and process.status() != psutil.STATUS_ZOMBIE else None


def _servers(folder: Path) -> list[psutil.Process]:
    """Every server of this folder, whatever its record says: two would write one state."""
    words = [_SERVER, str(folder)]
    running = psutil.process_iter(["cmdline"])
    return [process for process in running if (process.info["cmdline"] or [])[2:4] == words]


def _answers(port: int) -> bool:
    health = urllib.request.Request(f"http://{HOST}:{port}/_ministack/health")
    try:
        with loopback.open_url(health, timeout=5) as reply:
            return bool(reply.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _start(folder: Path) -> CloudStatus:
    for orphan in _servers(folder):  # not answering, or its record is lost: one is enough
        _stop(orphan)
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir()
    port = _free_port(_remembered_port(folder))
    began = time.perf_counter()
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", _SERVER, str(folder), str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=server_environment(folder, port),
            cwd=folder,
            start_new_session=True,
        )
    created = psutil.Process(server.pid).create_time()
    record = {"pid": server.pid, "port": port, "created": created}
    partial = folder / "server.json.partial"
    partial.write_text(json.dumps(record), encoding="utf-8")
    partial.rename(folder / "server.json")
    (folder / "port").write_text(str(port), encoding="utf-8")
    _wait_until_ready(folder, server, port)
    return CloudStatus(
        endpoint_url=f"http://{HOST}:{port}",
        port=port,
        pid=server.pid,
        started=True,
        ready_seconds=time.perf_counter() - began,
        memory_mb=psutil.Process(server.pid).memory_info().rss / 2**20,
        up_seconds=0.0,
    )


def _wait_until_ready(folder: Path, server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not _answers(port):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            server.wait()
            tail = (folder / "log").read_text(errors="replace").splitlines()[-5:]
            raise StageError(
                f"the local stage did not start on port {port}; the end of {folder / 'log'}:\n"
                + "\n".join(tail)
            )
        time.sleep(0.05)


def server_environment(folder: Path, port: int) -> dict[str, str]:
    """The server's environment: loopback only, state under `folder`, none of the user's AWS."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "PYTHONPATH"))}
    return {
        **loopback.without_proxies(kept),
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "IOT_MTLS_ENABLED": "0",
        "PERSIST_STATE": "1",
        "S3_PERSIST": "1",
        "STATE_DIR": str(folder / "state"),
        "S3_DATA_DIR": str(folder / "s3"),
        "TMPDIR": str(folder / "tmp"),
        "LOG_LEVEL": "WARNING",
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "local",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _remembered_port(folder: Path) -> int:
    try:
        return int((folder / "port").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return 0


def _free_port(wanted: int) -> int:
    """`wanted` if nobody listens there, else one the system gives."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            # So that a port whose last connections still linger is ours again at once.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StageError("no free port on the loopback interface")


def _stop(process: psutil.Process) -> None:
    family = [process, *process.children(recursive=True)]
    process.terminate()
    psutil.wait_procs([process], timeout=STOP_SECONDS)
    for member in family:
        if member.is_running():
            try:
                member.kill()
            except psutil.NoSuchProcess:
                continue
    psutil.wait_procs(family, timeout=STOP_SECONDS)
