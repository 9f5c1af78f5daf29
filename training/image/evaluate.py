"""Evaluate: the challenger beside baselines and champion on held-out pictures, by the graph that
serves.

A SageMaker processing job. Reads `prepared`, `model` (both archives of Train) and `champion` (the
same of what is live, or nothing); writes `metrics.json`, `gate.json` and `golden.json` to the
output `evaluation`. A champion is compared where the same pictures were held out from it.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from inference.artifact import unpack
from inference.errors import ArtifactError
from inference.image_network import ImageNetwork, Seen
from inference.visual import KIND, Visual
from inference.visual_contracts import decode_similar_request
from training.configuration import parse
from training.image.baselines import PixelNeighbours, majority
from training.image.configuration import ImageConfiguration
from training.image.metrics import accuracy, copy_recall, macro_f1, retrieval
from training.image.prepare import TEST, TRAIN, Prepared, load, split_rule
from training.image.train import FLOAT_MODEL
from training.job import Job
from training.verdict import above, at_least, verdict

QUERIES = 2000
GOLDEN_PRODUCTS = 8
Figures = dict[str, float]


def run(job: Job) -> None:
    configuration = parse(ImageConfiguration, job.settings, where=KIND)
    prepared = load(job.channel("prepared"))
    scratch = job.output("scratch")
    archive = job.channel("model") / "model.tar.gz"
    if not archive.exists():
        raise ArtifactError(f"{archive}: Train left no model")
    challenger = open_model(archive, scratch / "challenger")
    champion, note = find_champion(job, scratch / "champion", prepared, configuration)
    metrics = measure(prepared, configuration, challenger, champion)
    metrics["protocol"]["champion"] = note
    metrics["int8"] = int8_cost(job.channel("model"), scratch / "float", prepared, metrics)
    verdict = gate(metrics, configuration)
    golden = golden_requests(challenger, now=datetime.fromisoformat(job.started_at))
    folder = job.output("evaluation")
    for name, content in (("metrics", metrics), ("gate", verdict), ("golden", golden)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    job.log("evaluated", outcome=verdict["outcome"], reasons=verdict["reasons"])


def open_model(archive: Path, scratch: Path) -> Visual:
    """The model of an archive, as it serves; `ArtifactError` for one that is none of ours."""
    unpack(archive, scratch)
    return Visual.open(scratch)


def find_champion(
    job: Job, scratch: Path, prepared: Prepared, configuration: ImageConfiguration
) -> tuple[Visual | None, str]:
    """The live model where it can be compared fairly, and what the report says of it."""
    archive = job.channel("champion") / "model.tar.gz"
    if not archive.exists():
        return None, "none is live"
    try:
        champion = open_model(archive, scratch)
    except ArtifactError as error:
        job.log("the champion cannot be read", reason=str(error))
        return None, f"unreadable, so not compared: {error}"
    manifest = champion.manifest
    if champion.network.shape != prepared.images.shape[1:]:
        return None, f"takes pictures of another shape, {champion.network.shape}"
    if manifest["labels"] != prepared.classes:
        return None, "tells other labels apart"
    if manifest["data"]["split"] != split_rule(prepared, configuration):
        return None, "other pictures were held out from it"
    return champion, "on the pictures held out from both"


def measure(
    prepared: Prepared,
    configuration: ImageConfiguration,
    challenger: Visual,
    champion: Visual | None,
) -> dict[str, Any]:
    """Figures of every model on the held-out pictures."""
    rows = prepared.rows(TEST)
    labels = prepared.labels[rows, 0] if prepared.classes else np.full(len(rows), -1)
    images = np.asarray(prepared.images[rows])
    known = labels >= 0
    if prepared.classes:
        images, labels = images[known], labels[known]
    models = {"challenger": figures(challenger.network.see(images), images, labels, challenger)}
    if champion is not None:
        models["champion"] = figures(champion.network.see(images), images, labels, champion)
    models |= _baselines(prepared, images, labels, seed=configuration.seed)
    return {
        "protocol": {
            "holdout": split_rule(prepared, configuration),
            "relevant": "the same label" if prepared.classes else "a mirrored copy's original",
            "queries": min(QUERIES, len(images)),
        },
        "pictures": len(images),
        "decoding": prepared.meta["decoding"],
        "models": models,
    }


def figures(seen: Seen, images: np.ndarray, labels: np.ndarray, model: Visual) -> Figures:
    """Of labelled pictures classification and retrieval, else how well copies are found."""
    if not len(labels) or labels.max() < 0:
        copies = model.network.see(copied(images[:QUERIES])).embeddings
        return {"copy_recall": copy_recall(seen.embeddings, copies)}
    return classified(predicted(seen, len(model.columns[0]["values"])), labels) | retrieval(
        seen.embeddings, labels, queries=QUERIES
    )


def predicted(seen: Seen, classes: int) -> np.ndarray:
    """Codes of the first label, whose probabilities come first."""
    return np.asarray(seen.probabilities[:, :classes].argmax(1))


def classified(codes: np.ndarray, labels: np.ndarray) -> Figures:
    return {"accuracy": accuracy(codes, labels), "macro_f1": macro_f1(codes, labels)}


def copied(images: np.ndarray) -> np.ndarray:
    """Copies uint8 (n, size, size, c): mirrored, and moved by a fourteenth of the side."""
    step = max(1, images.shape[1] // 14)
    mirrored = images[:, :, ::-1]
    moved = np.pad(mirrored, ((0, 0), (step, 0), (step, 0), (0, 0)), mode="edge")
    return np.ascontiguousarray(moved[:, : images.shape[1], : images.shape[2]])


def _baselines(
    prepared: Prepared, images: np.ndarray, labels: np.ndarray, *, seed: int
) -> dict[str, Figures]:
    train = prepared.rows(TRAIN)
    known = prepared.labels[train, 0] if prepared.classes else np.full(len(train), -1)
    pixels = PixelNeighbours.fit(prepared.images[train], known, seed=seed)
    embedded = pixels.embed(images)
    if not prepared.classes:
        copies = pixels.embed(copied(images[:QUERIES]))
        return {"pca": {"copy_recall": copy_recall(embedded, copies)}}
    commonest = np.full(len(labels), majority(known))
    return {
        "majority": classified(commonest, labels),
        "pca-knn": classified(pixels.predict(images), labels)
        | retrieval(embedded, labels, queries=QUERIES),
    }


def int8_cost(
    channel: Path, scratch: Path, prepared: Prepared, metrics: dict[str, Any]
) -> dict[str, float] | None:
    """Accuracy of the float graph and what int8 loses; None without labels or float graph."""
    archive = channel / "output.tar.gz"
    if not archive.exists() or not prepared.classes:
        return None
    unpack(archive, scratch)
    rows = prepared.rows(TEST)
    rows = rows[prepared.labels[rows, 0] >= 0]
    seen = ImageNetwork.open(scratch / FLOAT_MODEL).see(np.asarray(prepared.images[rows]))
    full = accuracy(predicted(seen, len(prepared.classes)), prepared.labels[rows, 0])
    return {"float_accuracy": full, "loss": full - metrics["models"]["challenger"]["accuracy"]}


def gate(metrics: dict[str, Any], configuration: ImageConfiguration) -> dict[str, Any]:
    """The verdict with every check: evidence, baselines, champion where there is one."""
    models = metrics["models"]
    metric = "accuracy" if "accuracy" in models["challenger"] else "copy_recall"
    value = models["challenger"][metric]
    names = [name for name in models if name not in ("challenger", "champion")]
    best = max(names, key=lambda name: float(models[name][metric]))
    threshold = models[best][metric] + configuration.gate_margin
    checks = [
        at_least("evidence", "pictures", metrics["pictures"], configuration.gate_pictures),
        above(f"better than {best}", metric, value, threshold),
    ]
    if "champion" in models:
        floor = models["champion"][metric] - configuration.champion_tolerance
        checks.append(at_least("not worse than the champion", metric, value, floor))
    return verdict(checks)


def golden_requests(model: Visual, *, now: datetime) -> list[dict[str, Any]]:
    """Requests of every kind with the model's answers; `now` is pinned in each."""
    rows = np.unique(np.linspace(0, len(model.product_ids) - 1, GOLDEN_PRODUCTS).astype(int))
    names = [model.product_ids[row] for row in rows.tolist()]
    requests: list[dict[str, Any]] = [{"product": name, "limit": 10} for name in names]
    requests += [
        {"product": names[0], "exclude_products": names[1:3], "limit": 5},
        {"product": "no such product"},
    ]
    pinned = [{**request, "now": now.isoformat()} for request in requests]
    return [_golden(model, request, now) for request in pinned]


def _golden(model: Visual, request: dict[str, Any], now: datetime) -> dict[str, Any]:
    answer = model.similar(decode_similar_request(request), now=now)
    products = [
        {"product_id": found.product_id, "similarity": found.similarity}
        for found in answer.products
    ]
    return {"request": request, "response": {"products": products}}
