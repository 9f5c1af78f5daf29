"""What products look like: the embeddings of an image model's archive, in a run's own order.

Read by `Prepare` from the channel `images`, where the state machine puts the artefacts of the
tenant's live image model, if there is one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inference.artifact import open_artifact, unpack

KIND = "image-model"
ARCHIVE = "model.tar.gz"


def read_looks(channel: Path, product_ids: Sequence[str]) -> np.ndarray | None:
    """float32 (products, d): rows of unit length, zeros for a product without a picture; None
    without an archive, or where it knows none of the products.

    Raises `ArtifactError` for an archive that cannot be trusted.
    """
    if not (channel / ARCHIVE).exists():
        return None
    with tempfile.TemporaryDirectory(prefix="nextbest-looks-") as folder:
        unpack(channel / ARCHIVE, Path(folder))
        artifact = open_artifact(Path(folder), kind=KIND)
        embeddings = np.array(artifact.arrays["embeddings"], dtype=np.float32)
        return aligned(embeddings, artifact.tables["product_ids"], product_ids)


def aligned(
    embeddings: np.ndarray, owners: Sequence[str], product_ids: Sequence[str]
) -> np.ndarray | None:
    """Embeddings (owners, d) in the order of `product_ids`.

    What all pictures have in common is taken out: cosines of an untouched embedding are high
    between any two.
    """
    place = {product: code for code, product in enumerate(product_ids)}
    rows = [(place[owner], row) for row, owner in enumerate(owners) if owner in place]
    if not rows:
        return None
    codes, taken = np.array(rows).T
    found = embeddings[taken] - embeddings[taken].mean(axis=0)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    looks = np.zeros((len(product_ids), embeddings.shape[1]), dtype=np.float32)
    looks[codes] = np.where(length > 1e-6, found / np.maximum(length, 1e-6), 0.0)
    return looks
