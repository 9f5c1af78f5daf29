"""The image model beside scikit-learn peers, on any pictures that `nextbest data import` reads.

    python -m tests.benchmarks.image --data ../shared/data/fashion-mnist --json FILE
    python -m tests.benchmarks.image --data ../shared/data/clothing-small/images.tar --set epochs=20

Every model learns from the same training pictures and is measured on the same held-out ones; the
image model with its default configuration, by the int8 graph that serves. CPU seconds are user and
system time of this process, all threads: training alone, without decoding and export.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from inference.image_network import MODEL, ImageNetwork
from pipelines.data import read_sources
from tests.benchmarks.rows import Row, peak_mb, write_rows
from training.configuration import parse
from training.image import prepare
from training.image.baselines import PixelNeighbours
from training.image.configuration import ImageConfiguration
from training.image.fit import CHECKPOINT
from training.image.launch import Peers, train_one
from training.image.metrics import accuracy, macro_f1, retrieval
from training.image.prepare import TEST, TRAIN, Prepared
from training.image.tables import ImageDataset, write_image_dataset
from training.image.train import FLOAT_MODEL, trained, write_model
from training.job import Job

_COMPONENTS = 100
_TREES = 200


def main() -> None:
    options = _options()
    settings = dict(one.split("=", 1) for one in options.set or ())
    with tempfile.TemporaryDirectory(prefix="nextbest-image-") as folder:
        root, rows = Path(folder), []
        prepared = prepared_of(root, options.data, settings)
        if not prepared.classes:
            raise SystemExit(f"{options.data}: no labels to measure by")
        rows += _ours(root, prepared, settings, name=options.data.name)
        rows += _peers(prepared, name=options.data.name)
    for row in rows:
        figures = "  ".join(f"{name} {value:.4f}" for name, value in row.metrics.items())
        print(f"{row.set:16} {row.model:22} {row.cpu_seconds:8.1f} CPU s  {figures}")
    if options.json:
        write_rows(options.json, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder, tar or IDX set")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", help="a setting")
    return parser.parse_args()


def job_of(root: Path, step: str, settings: dict[str, str]) -> Job:
    return Job(
        f"image.{step}", root, settings, "benchmark", "image-model-1", "2026-01-01T00:00:00Z"
    )


def prepared_of(root: Path, path: Path, settings: dict[str, str]) -> Prepared:
    found = [d for d in read_sources(path, now=datetime.now(UTC)) if isinstance(d, ImageDataset)]
    if not found:
        raise SystemExit(f"{path}: no pictures in it")
    write_image_dataset(found[0], root / "processing" / "input" / "dataset")
    job = job_of(root, "prepare", settings)
    prepare.run(job)
    target = root / "processing" / "input" / "prepared"
    shutil.move(job.output("prepared"), target)
    return prepare.load(target)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    return work(), time.process_time() - began


def _held_out(prepared: Prepared) -> tuple[np.ndarray, np.ndarray]:
    rows = prepared.rows(TEST)
    rows = rows[prepared.labels[rows, 0] >= 0]
    return np.asarray(prepared.images[rows]), prepared.labels[rows, 0]


def _ours(root: Path, prepared: Prepared, settings: dict[str, str], *, name: str) -> list[Row]:
    job = job_of(root, "train", settings)
    _, seconds = _timed(lambda: train_one(job, Peers()))
    configuration = parse(ImageConfiguration, settings, where="--set")
    network = trained(prepared, configuration, job.checkpoints / CHECKPOINT)
    graph = write_model(job.model, prepared, network, configuration, provenance={})
    (root / FLOAT_MODEL).write_bytes(graph)
    images, labels = _held_out(prepared)
    found = []
    for model, path in (
        ("nextbest", job.model / MODEL),
        ("nextbest, float32", root / FLOAT_MODEL),
    ):
        seen = ImageNetwork.open(path).see(images)
        codes = seen.probabilities[:, : len(prepared.classes)].argmax(1)
        found.append(_row(name, model, codes, labels, seen.embeddings, seconds))
    return found


def _peers(prepared: Prepared, *, name: str) -> list[Row]:
    """PCA with neighbours, PCA with a logistic regression, and extremely randomised trees."""
    rows = prepared.rows(TRAIN)
    rows = rows[prepared.labels[rows, 0] >= 0]
    train, known = np.asarray(prepared.images[rows]), prepared.labels[rows, 0]
    images, labels = _held_out(prepared)
    neighbours, seconds = _timed(lambda: PixelNeighbours.fit(train, known, seed=0))
    codes = neighbours.predict(images)
    found = [_row(name, "PCA + 5 neighbours", codes, labels, neighbours.embed(images), seconds)]
    flat, queries = train.reshape(len(train), -1), images.reshape(len(images), -1)
    components = min(_COMPONENTS, *flat.shape)
    linear = make_pipeline(
        PCA(components, svd_solver="randomized", random_state=0),
        StandardScaler(),
        LogisticRegression(max_iter=300),
    )
    trees = ExtraTreesClassifier(_TREES, random_state=0)
    for model, peer in (("PCA + logistic", linear), ("extra trees", trees)):
        _, seconds = _timed(lambda peer=peer: peer.fit(flat, known))
        found.append(_row(name, model, peer.predict(queries), labels, None, seconds))
    return found


def _row(
    name: str,
    model: str,
    codes: np.ndarray,
    labels: np.ndarray,
    embeddings: np.ndarray | None,
    seconds: float,
) -> Row:
    metrics = {"accuracy": accuracy(codes, labels), "macro_f1": macro_f1(codes, labels)}
    if embeddings is not None:
        metrics |= retrieval(embeddings, labels)
    return Row("image", name, model, metrics, round(seconds, 1), peak_mb())


if __name__ == "__main__":
    main()
