"""The training loop: one-cycle Muon in mixed precision, a checkpoint each epoch, on any number of
processes.

Every epoch draws its order and its augmentation from (seed, epoch, rank) alone, so a job that goes
on from a checkpoint ends where the undisturbed one would have. Same data, configuration, seed,
number of processes and threads → the same weights.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, distributed, nn

from training.image.augmentation import Augmentation
from training.image.configuration import ImageConfiguration
from training.image.muon import optimiser_of
from training.image.network import ImageNet, build
from training.image.objectives import label_losses, likeness_loss, mean_loss, view_loss
from training.image.prepare import TRAIN, WEIGHTS, Prepared
from training.image.pruning import Pruning
from training.image.schedule import one_cycle, plan_of

CHECKPOINT = "checkpoint.pt"
_STATISTICS = 5000


@dataclass(frozen=True)
class Peers:
    """The processes that train together: this one is `rank` of `count`."""

    rank: int = 0
    count: int = 1


@dataclass(frozen=True)
class Epoch:
    """What an epoch came to; `loss` is this process's mean."""

    number: int
    of: int
    loss: float
    images_per_second: float


def statistics(prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of each channel, of values 0 to 255, over training pictures."""
    rows = prepared.rows(TRAIN)
    sample = prepared.images[rows[:: max(1, len(rows) // _STATISTICS)]].astype(np.float64)
    return sample.mean((0, 1, 2)), np.maximum(sample.std((0, 1, 2)), 1.0)


def network_of(
    prepared: Prepared, configuration: ImageConfiguration, *, weights: Path | None = None
) -> ImageNet:
    """The untrained network for this data."""
    _, size, _, channels = prepared.images.shape
    classes = [len(head["values"]) for head in prepared.meta["heads"]]
    return build(configuration, channels=channels, size=size, classes=classes, weights=weights)


def fit(
    prepared: Prepared,
    configuration: ImageConfiguration,
    *,
    folder: Path,
    checkpoints: Path,
    report: Callable[[Epoch], None],
    resumed: Callable[[int], None],
    peers: Peers = Peers(),
) -> None:
    """Train to the end and leave the network in `checkpoints`. `folder` is what `prepared` is of.

    `report` is told every epoch, `resumed` the number of epochs found done.
    """
    trainer = Trainer(prepared, configuration, peers=peers, weights=_weights(folder))
    done = trainer.restore(checkpoints / CHECKPOINT)
    if done:
        resumed(done)
    for epoch in range(done, trainer.plan.epochs):
        found = trainer.train_epoch(epoch)
        if peers.rank == 0:
            trainer.save(checkpoints / CHECKPOINT, done=epoch + 1)
            report(found)


def _weights(folder: Path) -> Path | None:
    path = folder / WEIGHTS
    return path if path.exists() else None


class Trainer:
    """A network in training, its optimiser, and the pictures it learns from."""

    def __init__(
        self,
        prepared: Prepared,
        configuration: ImageConfiguration,
        *,
        peers: Peers,
        weights: Path | None = None,
    ) -> None:
        self.prepared, self.configuration, self.peers = prepared, configuration, peers
        self.rows = _learnable(prepared)
        self.plan = plan_of(len(self.rows), configuration)
        labelled = bool(prepared.meta["heads"])
        self.pruning = Pruning(
            len(prepared),
            share=configuration.pruning if labelled and self.plan.prunes else 0.0,
            epochs=self.plan.epochs,
        )
        self.parity = np.random.default_rng(configuration.seed).integers(0, 2, len(prepared))
        self.device = _device(peers)
        network = network_of(prepared, configuration, weights=weights)
        self.network = network.to(self.device, memory_format=torch.channels_last)
        self.parallel = _parallel(self.network, peers, self.device)
        self.optimiser = optimiser_of(
            self.network,
            learning_rate=configuration.learning_rate,
            weight_decay=configuration.weight_decay,
            orthogonal_filters=not configuration.backbone,
        )
        mean, deviation = statistics(prepared)
        self.mean = torch.tensor(mean, dtype=torch.float32, device=self.device)
        self.deviation = torch.tensor(deviation, dtype=torch.float32, device=self.device)
        self.augment = Augmentation(-self.mean / self.deviation, configuration.erasing)

    def train_epoch(self, epoch: int) -> Epoch:
        """One pass over the training pictures that the epoch shows."""
        self.parallel.train()
        generator = torch.Generator(device=self.device)
        generator.manual_seed(_seed(self.configuration.seed, epoch, self.peers.rank))
        began, total, shown = time.perf_counter(), 0.0, 0
        batches = self._batches(epoch)
        for step, (rows, weights) in enumerate(batches):
            self._set_rate(epoch + step / len(batches))
            loss = self._loss(rows, weights, epoch, generator)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            self.optimiser.step()
            total, shown = total + float(loss.detach()), shown + len(rows)
        self.pruning.end_epoch(device=self.device)
        seconds = max(time.perf_counter() - began, 1e-9)
        speed = shown * self.peers.count / seconds
        return Epoch(epoch + 1, self.plan.epochs, total / len(batches), speed)

    def _batches(self, epoch: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """This process's rows of each step and what they count; the same order on all processes,
        each its own part."""
        generator = np.random.default_rng([self.configuration.seed, epoch])
        rows, weights = self.pruning.shown(self.rows, epoch, generator)
        order, batch = generator.permutation(len(rows)), min(self.plan.batch, len(rows))
        found = []
        for start in range(0, len(rows) - batch + 1, batch):
            own = np.sort(order[start : start + batch][self.peers.rank :: self.peers.count])
            found.append((rows[own], weights[own]))
        return found

    def _loss(
        self, rows: np.ndarray, weights: np.ndarray, epoch: int, generator: torch.Generator
    ) -> Tensor:
        x = self.normalised(self.prepared.images[rows])
        with _precision(self.configuration, self.device):
            if not self.prepared.meta["heads"]:
                views = torch.cat((self.augment(x, generator), self.augment(x, generator)))
                _, embeddings = self.parallel(_last(views))
                return view_loss(*embeddings.chunk(2))
            x = self.augment(x, generator, mirror=self._mirror(rows, epoch))
            logits, embeddings = self.parallel(_last(x))
        labels = torch.from_numpy(self.prepared.labels[rows]).to(self.device)
        losses = label_losses(logits, labels, smoothing=self.configuration.label_smoothing)
        self.pruning.note(rows, losses.sum(1) / (labels >= 0).sum(1).clamp_min(1))
        told = mean_loss(losses, labels, torch.from_numpy(weights).to(self.device))
        return told + self.configuration.contrast * likeness_loss(embeddings, labels)

    def _mirror(self, rows: np.ndarray, epoch: int) -> Tensor:
        """Mirrored every other epoch, half of the pictures in each: a picture is never seen twice
        the same way in a row (Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds")."""
        return torch.from_numpy((self.parity[rows] + epoch) % 2 == 1).to(self.device)

    def normalised(self, images: np.ndarray) -> Tensor:
        """uint8 (n, size, size, c) → float (n, c, size, size) of mean 0, deviation 1."""
        x = torch.from_numpy(np.ascontiguousarray(images)).to(self.device, non_blocking=True)
        return ((x.float() - self.mean) / self.deviation).permute(0, 3, 1, 2)

    def _set_rate(self, epochs: float) -> None:
        """For when so many epochs are done."""
        rate = self.configuration.learning_rate * one_cycle(epochs / self.plan.epochs)
        for group in self.optimiser.param_groups:
            group["lr"] = rate

    def save(self, path: Path, *, done: int) -> None:
        """In one step: a job may be killed while it writes."""
        state = {
            "done": done,
            "made_of": self._made_of(),
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "losses": self.pruning.losses,
        }
        partial = path.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(path)

    def restore(self, path: Path) -> int:
        """Go on from a checkpoint of the same data and plan; how many epochs it had done."""
        if not path.exists():
            return 0
        state = torch.load(path, map_location=self.device, weights_only=True)
        if state["made_of"] != self._made_of():
            return 0
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.pruning.losses = state["losses"].cpu()
        return int(state["done"])

    def _made_of(self) -> str:
        return f"{self.prepared.meta['fingerprint']} {self.configuration} {self.peers.count}"


def _learnable(prepared: Prepared) -> np.ndarray:
    """Training rows that say something: of labelled data, those with any label."""
    rows = prepared.rows(TRAIN)
    if not prepared.meta["heads"]:
        return rows
    return rows[(prepared.labels[rows] >= 0).any(axis=1)]


def _seed(seed: int, epoch: int, rank: int) -> int:
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])


def _device(peers: Peers) -> torch.device:
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def _parallel(network: nn.Module, peers: Peers, device: torch.device) -> nn.Module:
    if peers.count == 1:
        return network
    if not distributed.is_initialized():
        distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    ids = [device] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(network, device_ids=ids)


def _precision(configuration: ImageConfiguration, device: torch.device) -> AbstractContextManager:
    wanted = configuration.precision
    use = wanted == "bfloat16" or (wanted == "auto" and _has_bfloat16(device))
    return torch.autocast(device.type, torch.bfloat16, enabled=use)


def _has_bfloat16(device: torch.device) -> bool:
    """Whether the machine computes in bfloat16, rather than imitating it."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # an older torch, as of an image of SageMaker's, cannot tell: then it is float32
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def _last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
