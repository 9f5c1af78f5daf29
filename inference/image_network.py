"""The image model's network as it serves: an ONNX graph in onnxruntime. Runs in a Lambda.

Evaluate scores through this class too: what is measured is what answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from inference.errors import ArtifactError

MODEL = "model.onnx"
_BATCH = 256
_NO_GRAPH = (
    errors.Fail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoSuchFile,
    errors.NotImplemented,
)


def open_session(path: Path, *, threads: int = 1) -> onnxruntime.InferenceSession:
    """A graph ready to run on the CPU; `ArtifactError` where the file is none."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except _NO_GRAPH as error:
        raise ArtifactError(f"{path}: no graph that onnxruntime reads: {error}") from error


@dataclass(frozen=True)
class Seen:
    """What the network says: `probabilities` float32 (n, classes), `embeddings` float32 (n, d) of
    length one."""

    probabilities: np.ndarray
    embeddings: np.ndarray


class ImageNetwork:
    """`model.onnx`: input `images` uint8 (n, size, size, channels)."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self.session = session
        self.shape = tuple(session.get_inputs()[0].shape[1:])

    @classmethod
    def open(cls, path: Path, *, threads: int = 1) -> ImageNetwork:
        """Open a graph; `ArtifactError` where the file is none."""
        return cls(open_session(path, threads=threads))

    def see(self, images: np.ndarray, *, batch: int = _BATCH) -> Seen:
        """Probabilities and embeddings of uint8 (n, size, size, channels), `batch` at a time."""
        parts = [
            self.session.run(["probabilities", "embedding"], {"images": images[i : i + batch]})
            for i in range(0, len(images), batch)
        ]
        probabilities, embeddings = zip(*parts, strict=True)
        return Seen(np.concatenate(probabilities), np.concatenate(embeddings))
