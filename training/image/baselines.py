"""What an image model has to beat: the commonest class, and neighbours by pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

_SIDE = 32
_COMPONENTS = 50
_NEIGHBOURS = 5
_FITTED_ON = 20_000


@dataclass(frozen=True)
class PixelNeighbours:
    """PCA of small pictures; `embed` gives unit vectors, `predict` the vote of 5 neighbours."""

    pca: PCA
    neighbours: KNeighborsClassifier | None

    @classmethod
    def fit(cls, images: np.ndarray, labels: np.ndarray, *, seed: int) -> PixelNeighbours:
        """`labels` (n,), -1 where there is none; without any there is nothing to predict."""
        step = max(1, len(images) // _FITTED_ON)
        pixels, known = _pixels(images[::step]), labels[::step]
        count = min(_COMPONENTS, *pixels.shape)
        pca = PCA(count, random_state=seed, svd_solver="randomized").fit(pixels)
        rows = known >= 0
        if not rows.any():
            return cls(pca, None)
        voters = KNeighborsClassifier(min(_NEIGHBOURS, int(rows.sum())))
        return cls(pca, voters.fit(_unit(pca.transform(pixels[rows])), known[rows]))

    def embed(self, images: np.ndarray) -> np.ndarray:
        return _unit(self.pca.transform(_pixels(images)))

    def predict(self, images: np.ndarray) -> np.ndarray:
        assert self.neighbours is not None, "fitted without labels"
        return np.asarray(self.neighbours.predict(self.embed(images)))


def majority(labels: np.ndarray) -> int:
    """The commonest code."""
    return int(np.bincount(labels[labels >= 0]).argmax())


def _pixels(images: np.ndarray) -> np.ndarray:
    """Every so many pixels of each side, as one float row a picture."""
    step = max(1, images.shape[1] // _SIDE)
    return images[:, ::step, ::step].reshape(len(images), -1).astype(np.float32) / 255


def _unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12))
