"""The SageMaker container contract: channels, configuration, checkpoints, metrics, failure message.

Every job of nextbest is this program: `python nextbest_job.py <step>` in a processing job, or with
`step` among the hyperparameters in a training job. The contract's root is `/opt/ml`, or
`NEXTBEST_ML_ROOT` where the local stage cannot make that folder.
Source: docs.aws.amazon.com/sagemaker, "How SageMaker runs your training image" and "… processing".
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from inference.errors import NextbestError
from training.errors import ConfigurationError

STEPS = {
    "recommendation.prepare": "training.recommendation.prepare",
    "recommendation.train": "training.recommendation.train",
    "recommendation.evaluate": "training.recommendation.evaluate",
    "nudge.prepare": "training.nudge.prepare",
    "nudge.train": "training.nudge.train",
    "nudge.evaluate": "training.nudge.evaluate",
    "image.prepare": "training.image.prepare",
    "image.train": "training.image.train",
    "image.evaluate": "training.image.evaluate",
    "sync": "training.sync.step",
}
RESERVED = ("step", "tenant", "run", "started_at")
PREFIX = "NEXTBEST_"
_NOT_CONFIGURATION = ("ML_ROOT", "SKIP_INSTALL", "STAGE")
_NOT_OURS = ("sagemaker_", "_tuning_")
_MESSAGE_BYTES = 1000


@dataclass(frozen=True)
class Job:
    """One step at work. `settings` are the configuration's strings, without the reserved keys."""

    step: str
    root: Path
    settings: Mapping[str, str]
    tenant: str
    run: str
    started_at: str

    def channel(self, name: str) -> Path:
        """Folder of an input: a training channel, or a processing input."""
        training = self.root / "input" / "data" / name
        return training if training.exists() else self.root / "processing" / "input" / name

    def output(self, name: str) -> Path:
        """Folder of a processing output, made if absent."""
        return _made(self.root / "processing" / "output" / name)

    @property
    def model(self) -> Path:
        return _made(self.root / "model")

    @property
    def extra_output(self) -> Path:
        """What a training job leaves beside its model (`output.tar.gz`)."""
        return _made(self.root / "output" / "data")

    @property
    def checkpoints(self) -> Path:
        return _made(self.root / "checkpoints")

    def log(self, message: str, **fields: object) -> None:
        """One JSON object on one line of the job's log."""
        print(json.dumps({"run": self.run, "step": self.step, "message": message, **fields}))
        sys.stdout.flush()

    def metric(self, name: str, value: float) -> None:
        """A metric line, which SageMaker's metric definitions read from the log."""
        print(f"{name}={value:.6f};", flush=True)


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def read_job(arguments: list[str], environment: Mapping[str, str]) -> Job:
    """The job that the contract's files, arguments and environment describe."""
    root = Path(environment.get("NEXTBEST_ML_ROOT", "/opt/ml"))
    hyperparameters = root / "input" / "config" / "hyperparameters.json"
    values = (
        _from_file(hyperparameters) if hyperparameters.exists() else _from_environment(environment)
    )
    step = arguments[0] if arguments and not arguments[0].startswith("-") else values.get("step")
    if step not in STEPS:
        raise ConfigurationError(f"unknown step {step!r}; expected one of {', '.join(STEPS)}")
    return Job(
        step=step,
        root=root,
        settings={key: value for key, value in values.items() if key not in RESERVED},
        tenant=values.get("tenant", "unknown"),
        run=values.get("run", "unknown"),
        started_at=values.get("started_at", "1970-01-01T00:00:00Z"),
    )


def _from_file(path: Path) -> dict[str, str]:
    values = json.loads(path.read_text(encoding="utf-8"))
    # The toolkit and tuning jobs add their own, and the SDK quotes strings as JSON.
    return {k: _unquoted(v) for k, v in values.items() if not k.startswith(_NOT_OURS)}


def _unquoted(value: str) -> str:
    return str(json.loads(value)) if value.startswith('"') else value


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    names = {
        name: name.removeprefix(PREFIX)
        for name in environment
        if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _NOT_CONFIGURATION
    }
    return {short.lower(): environment[name] for name, short in names.items()}


def main(arguments: list[str] | None = None) -> None:
    """Run the step and exit: 0 when done, 1 with a failure message otherwise."""
    signal.signal(signal.SIGTERM, _stop)
    root = Path(os.environ.get("NEXTBEST_ML_ROOT", "/opt/ml"))
    sys.exit(_guarded(root, lambda: _run(sys.argv[1:] if arguments is None else arguments)))


def _run(arguments: list[str]) -> None:
    job = read_job(arguments, os.environ)
    began = time.process_time()
    job.log("started")
    importlib.import_module(STEPS[job.step]).run(job)
    job.log("finished", cpu_seconds=round(time.process_time() - began, 2))


def _guarded(root: Path, work: Callable[[], None]) -> int:
    try:
        work()
    except NextbestError as error:
        _fail(root, f"{type(error).__name__}: {error}")
        return 1
    except Exception as error:  # noqa: BLE001  (the outermost frame: it must leave a message)
        traceback.print_exc()
        _fail(root, f"{type(error).__name__}: {error}")
        return 1
    return 0


def _fail(root: Path, message: str) -> None:
    """Where SageMaker looks: `failure` of a training job, `message` of a processing job."""
    print(message, file=sys.stderr, flush=True)
    for name in ("failure", "message"):
        text = message.encode()[:_MESSAGE_BYTES].decode(errors="ignore")
        (_made(root / "output") / name).write_text(text, encoding="utf-8")


def _stop(number: int, frame: FrameType | None) -> None:
    """SIGTERM: spot interruption or a user's stop. Unwinds, so that files are closed."""
    raise SystemExit(143)
