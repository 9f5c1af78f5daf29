"""A tiny image model whose answers are known: a picture's embedding is its mean colour.

Products are colours; the one label column tells reddish from the rest. Needs `onnx` to write the
graphs.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from inference import artifact
from inference.visual import KIND
from training.image.search_graph import search_graph

SIZE = 8
COLOURS = {
    "red": (250, 10, 10),
    "rose": (250, 120, 120),
    "green": (10, 250, 10),
    "lime": (120, 250, 60),
    "blue": (10, 10, 250),
    "navy": (5, 5, 120),
}


def network(*, width: int = 3) -> bytes:
    """`embedding`: the mean colour at length one, and zeros up to the width; `probabilities`: red's
    share and the rest."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "space": np.array([1, 2]),
        "shared": np.array([[0.9, 0], [0, 0.5], [0, 0.5]], dtype=np.float32),
        "wide": np.eye(3, width, dtype=np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "space"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "wide"], ["coloured"]),
        helper.make_node("LpNormalization", ["coloured"], ["embedding"], axis=1, p=2),
        helper.make_node("MatMul", ["mean", "shared"], ["sums"]),
        helper.make_node("LpNormalization", ["sums"], ["probabilities"], axis=1, p=1),
    ]
    graph = helper.make_graph(
        nodes,
        "mean colour",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["n", SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", width]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return bytes(model.SerializeToString())


def write(folder: Path, embeddings: np.ndarray | None = None) -> Path:
    """The artefact of `COLOURS`, or of products `p0`, `p1`, … with these embeddings."""
    names = list(COLOURS)
    if embeddings is None:
        colours = np.array(list(COLOURS.values()), dtype=np.float32)
        embeddings = colours / np.linalg.norm(colours, axis=1, keepdims=True)
    else:
        names = [f"p{number}" for number in range(len(embeddings))]
    count = len(names)
    artifact.write(
        folder,
        manifest={"kind": KIND, "image_size": SIZE, "channels": 3},
        arrays={
            "embeddings": embeddings.astype(np.float32),
            "shade": (np.arange(count) % 2).astype(np.int32),
        },
        tables={
            "product_ids": names,
            "titles": [name.title() for name in names],
            "columns": [{"name": "hue", "values": ["reddish", "other"]}],
            "attributes": {
                "shade": {"type": "category", "array": "shade", "values": ["full", "pale"]}
            },
        },
        files={"model.onnx": network(), "search.onnx": search_graph(embeddings)},
    )
    return folder


def picture(
    colour: tuple[int, ...] = (250, 10, 10), *, format: str = "PNG", **options: Any
) -> bytes:
    """A file of one colour."""
    from PIL import Image

    mode = {1: "L", 3: "RGB", 4: "RGBA"}[len(colour)]
    file = io.BytesIO()
    Image.new(options.pop("mode", mode), options.pop("size", (20, 12)), colour).save(
        file, format, **options
    )
    return file.getvalue()
