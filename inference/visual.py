"""The serving core of similar-products: what looks like a product, or like a picture.

A product of the model has its embedding already; a picture is decoded and seen by the network.
Runs in a Lambda, and in `Evaluate`, so that what is measured is what answers. `inference.nearest`
says how the nearest are found.
"""

from __future__ import annotations

import base64
import binascii
import copy
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import numpy as np

from inference.artifact import Artifact, open_artifact
from inference.errors import ArtifactError, BadRequestError
from inference.filters import Attributes, Test, all_of, negated
from inference.image_network import MODEL, ImageNetwork, open_session
from inference.live_products import ProductState
from inference.nearest import GRAPH, Nearest
from inference.visual_contracts import Similar, SimilarProduct, SimilarRequest

KIND = "image-model"
_SHOWN_LABELS = 3
Fetch = Callable[[str], bytes]


def _no_store(key: str) -> bytes:
    raise BadRequestError("this model is not served beside a store of pictures", path="$.image_key")


class Visual:
    """An image model ready to answer. The network is opened when the first picture comes."""

    def __init__(self, artifact: Artifact, *, fetch: Fetch = _no_store) -> None:
        self.manifest = artifact.manifest
        self.product_ids: list[str] = artifact.tables["product_ids"]
        self.titles: list[str | None] = artifact.tables.get("titles") or [None] * len(
            self.product_ids
        )
        self.columns: list[dict[str, Any]] = artifact.tables["columns"]
        self.attributes = Attributes(artifact.tables["attributes"], artifact.arrays)
        self.code_of = {product: code for code, product in enumerate(self.product_ids)}
        embeddings = artifact.arrays.get("embeddings")
        if embeddings is None or len(embeddings) != len(self.product_ids):
            raise ArtifactError(
                f"{0 if embeddings is None else len(embeddings)} embeddings for "
                f"{len(self.product_ids)} products"
            )
        for name in (MODEL, GRAPH):
            if name not in artifact.files:
                raise ArtifactError(f"an image model without {name}")
        self._files = artifact.files
        self._fetch = fetch
        self._network: ImageNetwork | None = None
        self.nearest = Nearest(embeddings, open_session(artifact.files[GRAPH]))

    @classmethod
    def open(cls, folder: Path, *, fetch: Fetch = _no_store) -> Visual:
        """Open the artefact in `folder`; raises `ArtifactError` if it cannot be trusted. `fetch`
        gives the bytes of a picture by its key, or raises `BadRequestError`."""
        return cls(open_artifact(folder, kind=KIND), fetch=fetch)

    @property
    def network(self) -> ImageNetwork:
        if self._network is None:
            self._network = ImageNetwork.open(self._files[MODEL])
        return self._network

    def changed_by(self, states: Sequence[ProductState]) -> Self:
        """The same model with what was said of its products since it was trained."""
        found = copy.copy(self)
        found.attributes = self.attributes.changed_by(states, self.code_of)
        return found

    def similar(self, request: SimilarRequest, *, now: datetime) -> Similar:
        """The nearest products. Raises `BadRequestError` for an unusable picture or filter."""
        allowed = self._allowed(request, request.now or now)
        named = [*([request.product] if request.product else []), *request.exclude_products]
        unknown = list(dict.fromkeys(name for name in named if name not in self.code_of))
        if request.product in unknown:
            return Similar([], {}, unknown, f"{request.product!r} has no picture here")
        question, labels = self._question(request)
        without = [self.code_of[name] for name in named if name in self.code_of]
        items, cosines = self.nearest.find(
            question, request.limit, allowed=allowed, without=without
        )
        products = [
            SimilarProduct(self.product_ids[code], cosine, self.titles[code])
            for code, cosine in zip(items.tolist(), cosines.tolist(), strict=True)
        ]
        return Similar(products, labels, unknown, None if products else _why_empty(request))

    def _question(self, request: SimilarRequest) -> tuple[np.ndarray, dict[str, dict[str, float]]]:
        if request.product is not None:
            return self.nearest.embeddings[self.code_of[request.product]], {}
        path = "$.image" if request.image is not None else "$.image_key"
        seen = self.network.see(self._picture(request, path)[None])
        return seen.embeddings[0], self._labels(seen.probabilities[0])

    def _picture(self, request: SimilarRequest, path: str) -> np.ndarray:
        from inference.images import UnreadableImageError, decode  # Pillow: only for a picture

        try:
            if request.image is not None:
                content = base64.b64decode(request.image, validate=True)
            else:
                content = self._fetch(str(request.image_key))
            size, channels = self.manifest["image_size"], self.manifest["channels"]
            return decode(content, size=size, channels=channels).pixels
        except binascii.Error as error:
            raise BadRequestError(f"not base64: {error}", path=path) from error
        except UnreadableImageError as error:
            raise BadRequestError(str(error), path=path) from error

    def _labels(self, probabilities: np.ndarray) -> dict[str, dict[str, float]]:
        """The likeliest values of each label; the columns' probabilities stand side by side."""
        labels, start = {}, 0
        for column in self.columns:
            values = column["values"]
            own = probabilities[start : start + len(values)]
            best = np.argsort(-own, kind="stable")[:_SHOWN_LABELS]
            labels[column["name"]] = {values[code]: float(own[code]) for code in best.tolist()}
            start += len(values)
        return labels

    def _allowed(self, request: SimilarRequest, now: datetime) -> Test | None:
        tests = self.attributes.tests(request.include, where="$.include")
        tests += [negated(t) for t in self.attributes.tests(request.exclude, where="$.exclude")]
        if not request.include_unavailable:
            tests += self.attributes.available(now)
        return all_of(tests) if tests else None


def _why_empty(request: SimilarRequest) -> str:
    used = [name for name in ("include", "exclude", "exclude_products") if getattr(request, name)]
    return f"no product is left after: {', '.join(used) or 'availability'}"
