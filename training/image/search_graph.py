"""The search through all products as an ONNX graph: int8 products × one int8 question.

Built in the job, since `onnx` is not in the Lambda; run there by `inference.nearest`. An unsigned
question and signed products are what the vector instructions of CPUs multiply directly: the same
graph with both signed takes ten times as long.
"""

from __future__ import annotations

import numpy as np

# Seven bits: older x86 adds two products in 16 bits, and 255 × 127 twice would not fit there.
_PEAK = 63
_OPSET, _IR_VERSION = 17, 8
_SMALLEST = 1e-12


def search_graph(embeddings: np.ndarray) -> bytes:
    """`embeddings` float32 (products, d), rows of length one → inputs `question` float32 (1, d)
    and `count` int64 (1,); output `products` int64 (1, count), about the nearest, in no order.

    A trained network puts the products of a class close together, so what rounding takes from a
    product x, the vector r, must not drown what tells it from its neighbours. Products are
    therefore rounded about their mean, by dimension, and r·x is added to a product's score: the
    error left for a question q is r·(q - x), which vanishes where products are near.
    """
    from onnx import TensorProto, helper, numpy_helper

    steps, codes, correction = quantised(embeddings)
    nodes = [
        helper.make_node("Mul", ["question", "steps"], ["scaled"]),
        helper.make_node("DynamicQuantizeLinear", ["scaled"], ["rounded", "unit", "zero"]),
        helper.make_node("MatMulInteger", ["rounded", "codes", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["whole"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["whole", "unit"], ["uncorrected"]),
        helper.make_node("Add", ["uncorrected", "correction"], ["scores"]),
        helper.make_node("TopK", ["scores", "count"], ["best", "products"], sorted=0),
    ]
    graph = helper.make_graph(
        nodes,
        "search",
        [
            helper.make_tensor_value_info("question", TensorProto.FLOAT, [1, len(steps)]),
            helper.make_tensor_value_info("count", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("products", TensorProto.INT64, [1, "count"])],
        [
            numpy_helper.from_array(steps, "steps"),
            numpy_helper.from_array(np.ascontiguousarray(codes.T), "codes"),
            numpy_helper.from_array(correction, "correction"),
        ],
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())


def quantised(embeddings: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`steps` float32 (d,), `codes` int8 (products, d) of at most ±63, and `correction` float32
    (products,): codes × steps is about embeddings less their mean, whose product with a question
    is the same for every product."""
    centred = embeddings - embeddings.mean(axis=0)
    steps = np.maximum(np.abs(centred).max(axis=0, initial=0.0) / _PEAK, _SMALLEST)
    codes = np.clip(np.rint(centred / steps), -_PEAK, _PEAK).astype(np.int8)
    left = centred - codes * steps
    correction = np.einsum("pd,pd->p", left, embeddings)
    return steps.astype(np.float32), codes, correction.astype(np.float32)
