"""Runs a command as a container would: its own folder and variables, ended when it must be.

`/opt/ml` is a folder of the job's own; the variable `NEXTBEST_ML_ROOT` and the rewritten
entrypoint say where.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STOP_GRACE_SECONDS = 5.0
_PR_SET_PDEATHSIG = 1
ML = "/opt/ml"


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
        **{name: value.replace(ML, str(root)) for name, value in given.items()},
        "PYTHONPATH": os.pathsep.join(filter(None, (str(site), given.get("PYTHONPATH")))),
    }
