"""Training on several processes, by PyTorch's own launcher, on one SageMaker machine or several.

Each process is `python -m training.image.launch <job as JSON>`; the first one writes checkpoints
and the log. With one process nothing is launched.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import distributed
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from training.configuration import parse
from training.errors import ConfigurationError
from training.image.configuration import ImageConfiguration
from training.image.fit import Epoch, Peers, fit
from training.image.prepare import load
from training.job import Job

_PORT = 29500
_RESOURCES = "input/config/resourceconfig.json"


@dataclass(frozen=True)
class Machines:
    """The machines of a training job, by name, and which of them this is."""

    hosts: tuple[str, ...] = ("algo-1",)
    current: str = "algo-1"

    @property
    def rank(self) -> int:
        return self.hosts.index(self.current)


def machines_of(root: Path) -> Machines:
    """As SageMaker's `resourceconfig.json` says; one machine where there is no such file."""
    path = root / _RESOURCES
    if not path.exists():
        return Machines()
    found = json.loads(path.read_text(encoding="utf-8"))
    return Machines(tuple(sorted(found["hosts"])), found["current_host"])


def train(job: Job, configuration: ImageConfiguration) -> bool:
    """Fit on as many processes as there are to be; whether this machine is the one to go on."""
    machines = machines_of(job.root)
    each = configuration.processes or max(1, torch.cuda.device_count())
    if each * len(machines.hosts) == 1:
        train_one(job, Peers())
        return True
    batch = configuration.batch_size
    if batch and batch < 2 * each * len(machines.hosts):
        raise ConfigurationError(
            f"batch_size={batch} on {each * len(machines.hosts)} processes: "
            "each needs 2 pictures a batch at least"
        )
    _launch(job, machines, each)
    return machines.rank == 0


def _launch(job: Job, machines: Machines, each: int) -> None:
    alone = len(machines.hosts) == 1
    config = LaunchConfig(
        min_nodes=len(machines.hosts),
        max_nodes=len(machines.hosts),
        nproc_per_node=each,
        run_id=job.run,
        rdzv_backend="c10d" if alone else "static",
        rdzv_endpoint="localhost:0" if alone else f"{machines.hosts[0]}:{_PORT}",
        rdzv_configs={} if alone else {"rank": machines.rank},
        max_restarts=0,
    )
    plain = {**asdict(job), "root": str(job.root), "settings": dict(job.settings)}
    words = ("-m", "training.image.launch", json.dumps(plain))
    try:
        elastic_launch(config, sys.executable)(*words)
    except SignalException as error:
        raise SystemExit(128 + int(error.sigval)) from error
    except ChildFailedError as error:
        _raise_as_killed(error)
        raise


def _raise_as_killed(error: ChildFailedError) -> None:
    """End as a process does that is killed itself, where one of ours was: that is worth a retry."""
    signals = [-failure.exitcode for failure in error.failures.values() if failure.exitcode < 0]
    if signals:
        raise SystemExit(128 + signals[0]) from error


def train_one(job: Job, peers: Peers) -> None:
    """This process's part of the training."""
    configuration = parse(ImageConfiguration, job.settings, where="image-model")
    if configuration.threads:
        torch.set_num_threads(configuration.threads)
    folder = job.channel("prepared")

    def report(epoch: Epoch) -> None:
        job.metric("epoch", epoch.number)
        job.metric("train_loss", epoch.loss)
        job.metric("images_per_second", epoch.images_per_second)

    fit(
        load(folder),
        configuration,
        folder=folder,
        checkpoints=job.checkpoints,
        report=report,
        resumed=lambda epochs: job.log("resumed from a checkpoint", epochs=epochs),
        peers=peers,
    )


def main(text: str, environment: Mapping[str, str]) -> None:
    """A launched process: `text` is its job."""
    plain = json.loads(text)
    job = Job(**{**plain, "root": Path(plain["root"])})
    peers = Peers(int(environment["RANK"]), int(environment["WORLD_SIZE"]))
    try:
        train_one(job, peers)
        distributed.barrier()  # nobody leaves while another still talks: gloo would abort
    finally:
        if distributed.is_initialized():
            # What still holds the group keeps its threads, which abort once Python is gone.
            gc.collect()
            distributed.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], os.environ)
