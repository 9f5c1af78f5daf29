"""The search through all products as an ONNX graph: int8 products × one int8 question.

Built in the job, since `onnx` is not in the Lambda; run there by `inference.nearest`. An unsigned
question and signed products are what the vector instructions of CPUs multiply directly: the same
graph with both signed takes ten times as long.
"""

from __future__ import annotations

import numpy as np

_PEAK = 127
_OPSET, _IR_VERSION = 17, 8


def search_graph(embeddings: np.ndarray) -> bytes:
    """`embeddings` float32 (products, d), rows of length one → inputs `question` uint8 (1, d),
    128 standing for 0, and `count` int64 (1,); output `products` int64 (1, count), in no order."""
    from onnx import TensorProto, helper, numpy_helper

    scale = float(np.abs(embeddings).max(initial=1e-9)) / _PEAK
    codes = np.clip(np.rint(embeddings / scale), -_PEAK, _PEAK).astype(np.int8)
    nodes = [
        helper.make_node("MatMulInteger", ["question", "products_by_number", "zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["scores"], to=TensorProto.FLOAT),
        helper.make_node("TopK", ["scores", "count"], ["best", "products"], sorted=0),
    ]
    graph = helper.make_graph(
        nodes,
        "search",
        [
            helper.make_tensor_value_info("question", TensorProto.UINT8, [1, codes.shape[1]]),
            helper.make_tensor_value_info("count", TensorProto.INT64, [1]),
        ],
        [helper.make_tensor_value_info("products", TensorProto.INT64, [1, "count"])],
        [
            numpy_helper.from_array(np.ascontiguousarray(codes.T), "products_by_number"),
            numpy_helper.from_array(np.array(_PEAK + 1, dtype=np.uint8), "zero"),
        ],
    )
    opset = helper.make_opsetid("", _OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=_IR_VERSION)
    return bytes(model.SerializeToString())
