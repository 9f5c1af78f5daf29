"""The trained network as ONNX: what it takes and gives is settled in the graph.

Input `images` uint8 (n, size, size, channels); outputs `probabilities` float32 (n, classes),
those of all labels side by side, and `embedding` float32 (n, d) of length one.
Convolutions become int8 (static, per channel): dynamic quantisation is twice as slow as none for
them.
"""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from torch import Tensor, nn
from torch.nn import functional

from training.image.network import ImageNet

OPSET = 17
CALIBRATION = 1000
_CHUNK = 100


class Served(nn.Module):
    """The network with what surrounds it when it serves.

    Four views of a picture are seen and the answers averaged: itself and its mirror image, each
    also moved by a pixel, so that maxima are taken over other places. Four times the time of one,
    .63 ms for 28 pixels, for half a point of accuracy.
    """

    def __init__(self, network: ImageNet, mean: np.ndarray, deviation: np.ndarray) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        scale = torch.tensor(1 / deviation, dtype=torch.float32)
        self.register_buffer("scale", scale.view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        x = (images.float().permute(0, 3, 1, 2) - self.mean) * self.scale
        views = (x, x.flip(3), _moved(x, 1), _moved(x.flip(3), -1))
        # In one batch: weights that are used twice in a graph would not be quantised.
        logits, embeddings = self.network(torch.cat(views))
        none = embeddings[:, :0]
        probabilities = torch.cat([none, *[head.softmax(1) for head in logits]], dim=1)
        shape = (len(views), -1)
        units = functional.normalize(embeddings).reshape(*shape, embeddings.shape[1]).sum(0)
        columns = probabilities.shape[1]
        if not columns:
            return units[:, :0], functional.normalize(units)
        return probabilities.reshape(*shape, columns).mean(0), functional.normalize(units)


def _moved(x: Tensor, by: int) -> Tensor:
    """Down and to the right by so many pixels, the border continued."""
    size, most = x.shape[-1], abs(by)
    padded = functional.pad(x, (most,) * 4, mode="replicate")
    return padded[:, :, most - by : most - by + size, most - by : most - by + size]


class _Calibration(CalibrationDataReader):
    """Training pictures, a chunk at a time."""

    def __init__(self, images: np.ndarray) -> None:
        self._chunks: Iterator[np.ndarray] = (
            np.ascontiguousarray(images[i : i + _CHUNK]) for i in range(0, len(images), _CHUNK)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        chunk = next(self._chunks, None)
        return None if chunk is None else {"images": chunk}


def export(
    network: ImageNet, mean: np.ndarray, deviation: np.ndarray, *, size: int, channels: int
) -> bytes:
    """The float graph, for any number of pictures at a time."""
    served = Served(network, mean, deviation).cpu().eval()
    example = torch.zeros((2, size, size, channels), dtype=torch.uint8)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # the exporter that needs no onnxscript is the older one, which says so
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            served,
            (example,),
            path,
            dynamo=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["probabilities", "embedding"],
            dynamic_axes={name: {0: "n"} for name in ("images", "probabilities", "embedding")},
        )
        return path.read_bytes()


def quantise(model: bytes, images: np.ndarray) -> bytes:
    """The same graph with int8 convolutions, their ranges measured on `images`."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        source.write_bytes(model)
        logging.getLogger().addFilter(_is_no_advice)
        try:
            quantize_static(
                source,
                target,
                _Calibration(images),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv", "Add", "Relu"],
                nodes_to_exclude=_outside(model),
                per_channel=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
            )
        finally:
            logging.getLogger().removeFilter(_is_no_advice)
        return target.read_bytes()


def _outside(model: bytes) -> list[str]:
    """Names of the nodes around the network: averages and lengths stay exact."""
    nodes = onnx.load_from_string(model).graph.node
    return [node.name for node in nodes if not node.name.startswith("/network/")]


def _is_no_advice(record: logging.LogRecord) -> bool:
    """Every quantisation advises to run a pre-processing that changes nothing here."""
    return "pre-processing" not in record.getMessage()
