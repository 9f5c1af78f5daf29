"""Train: prepared pictures → the artefact that serves. A SageMaker training job.

`model.tar.gz` holds the int8 graph and the embeddings of all products, `output.tar.gz` the float
graph, with which `Evaluate` tells what int8 costs. Same data, configuration, seed, processes and
threads → the same bytes.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnxruntime
import torch

from inference import artifact
from inference.image_network import MODEL, ImageNetwork
from inference.nearest import GRAPH
from inference.visual import KIND
from training.configuration import parse
from training.image import launch
from training.image.configuration import ImageConfiguration
from training.image.export import CALIBRATION, export, quantise
from training.image.fit import CHECKPOINT, network_of, statistics
from training.image.network import ImageNet
from training.image.prepare import TRAIN, Prepared, load, split_rule
from training.image.search_graph import search_graph
from training.job import Job
from training.recommendation.catalogue import attribute_arrays

FLOAT_MODEL = "float.onnx"


def run(job: Job) -> None:
    configuration = parse(ImageConfiguration, job.settings, where=KIND)
    if not launch.train(job, configuration):
        return  # another machine writes the model
    prepared = load(job.channel("prepared"))
    network = trained(prepared, configuration, job.checkpoints / CHECKPOINT)
    provenance = {"tenant": job.tenant, "run": job.run, "created_at": job.started_at}
    graph = write_model(job.model, prepared, network, configuration, provenance=provenance)
    (job.extra_output / FLOAT_MODEL).write_bytes(graph)
    parameters = sum(p.numel() for p in network.parameters())
    job.log("wrote a model", products=len(prepared), parameters=parameters)


def trained(prepared: Prepared, configuration: ImageConfiguration, checkpoint: Path) -> ImageNet:
    """The network of a checkpoint."""
    network = network_of(prepared, configuration)
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    network.load_state_dict(state["network"])
    return network.eval()


def write_model(
    folder: Path,
    prepared: Prepared,
    network: ImageNet,
    configuration: ImageConfiguration,
    *,
    provenance: dict[str, str],
) -> bytes:
    """Write the artefact into `folder`; the float graph."""
    _, size, _, channels = prepared.images.shape
    mean, deviation = statistics(prepared)
    graph = export(network, mean, deviation, size=size, channels=channels)
    served = quantise(graph, _calibration(prepared))
    specs, arrays = attribute_arrays(prepared.meta["attributes"])
    embeddings = _embeddings(served, prepared.images)
    tables: dict[str, Any] = {
        "product_ids": prepared.meta["product_ids"],
        "columns": prepared.meta["heads"],
        "attributes": specs,
    }
    if prepared.meta["titles"]:
        tables["titles"] = prepared.meta["titles"]
    artifact.write(
        folder,
        manifest={
            "kind": KIND,
            "image_size": size,
            "channels": channels,
            "labels": prepared.classes,
            "normalised": {"mean": mean.tolist(), "deviation": deviation.tolist()},
            "configuration": msgspec.to_builtins(configuration),
            "data": {
                "pictures": len(prepared),
                "trained_on": len(prepared.rows(TRAIN)),
                "split": split_rule(prepared, configuration),
                "fingerprint": prepared.meta["fingerprint"],
            },
            "libraries": {
                "numpy": np.__version__,
                "torch": torch.__version__,
                "onnxruntime": onnxruntime.__version__,
            },
            **provenance,
        },
        arrays={"embeddings": embeddings, **arrays},
        tables=tables,
        files={MODEL: served, GRAPH: search_graph(embeddings)},
    )
    return graph


def _calibration(prepared: Prepared) -> np.ndarray:
    rows = prepared.rows(TRAIN)
    return np.asarray(prepared.images[rows[:: max(1, len(rows) // CALIBRATION)][:CALIBRATION]])


def _embeddings(graph: bytes, images: np.ndarray) -> np.ndarray:
    """float32 (n, d) of length one, by the graph that serves."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        path.write_bytes(graph)
        return ImageNetwork.open(path).see(images).embeddings
