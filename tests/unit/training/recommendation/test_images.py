"""What products look like reaches the recommender: from an archive, in a run's order, as a part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inference import artifact
from inference.errors import ArtifactError
from training.errors import DataQualityError
from training.recommendation.images import ImageSimilarity
from training.recommendation.looks import ARCHIVE, KIND, aligned, read_looks
from training.recommendation.parameters import IMAGES, Parameters
from training.recommendation.parts import Parts
from training.recommendation.prepare import Prepared, from_frame, load, save


def interactions(products: int = 12, customers: int = 30) -> Prepared:
    rows = [
        (f"c{c:02d}", f"p{(c + step) % products:02d}") for c in range(customers) for step in (0, 1)
    ]
    return from_frame(pd.DataFrame(rows, columns=["customer_id", "product_id"]))


def pictured(count: int = 12, *, seed: int = 0) -> Prepared:
    looks = np.random.default_rng(seed).normal(size=(count, 4)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    return replace(interactions(count), images=looks)


def archive(folder: Path, owners: list[str], embeddings: np.ndarray, *, kind: str = KIND) -> Path:
    artifact.write(
        folder / "model",
        manifest={"kind": kind},
        arrays={"embeddings": embeddings.astype(np.float32)},
        tables={"product_ids": owners},
    )
    channel = folder / "images"
    channel.mkdir()
    artifact.pack(folder / "model", channel / ARCHIVE)
    return channel


def test_an_archive_s_embeddings_take_the_run_s_order(tmp_path: Path) -> None:
    channel = archive(tmp_path, ["b", "a", "gone"], np.array([[1.0, 0], [0, 1], [5, 5]]))
    looks = read_looks(channel, ["a", "b", "c"])
    assert looks is not None
    assert looks.dtype == np.float32
    half = np.sqrt(0.5)
    np.testing.assert_allclose(looks, [[-half, half], [half, -half], [0, 0]], atol=1e-6)


def test_what_all_pictures_have_in_common_says_nothing() -> None:
    draw = np.random.default_rng(0)
    alike = draw.normal(size=(50, 8)) * 0.1 + 3.0
    looks = aligned(
        alike.astype(np.float32), [str(n) for n in range(50)], [str(n) for n in range(50)]
    )
    assert looks is not None
    assert abs(np.mean(looks @ looks.T)) < 0.1


def test_no_archive_and_no_product_in_common_are_no_looks(tmp_path: Path) -> None:
    assert read_looks(tmp_path, ["a"]) is None
    channel = archive(tmp_path, ["x"], np.ones((1, 2)))
    assert read_looks(channel, ["a"]) is None


def test_the_archive_of_another_kind_is_refused(tmp_path: Path) -> None:
    channel = archive(tmp_path, ["a"], np.ones((1, 2)), kind="recommender")
    with pytest.raises(ArtifactError, match="expected a 'image-model'"):
        read_looks(channel, ["a"])


def test_the_part_is_the_cosine_of_the_pictures() -> None:
    prepared = pictured()
    assert prepared.images is not None
    matrix = ImageSimilarity(popularity=0.0, neighbours=5).fit(prepared).matrix_.toarray()
    cosine = prepared.images @ prepared.images.T
    np.fill_diagonal(cosine, 0.0)
    for row, values in zip(matrix, cosine, strict=True):
        best = np.sort(np.argsort(-values)[: min(5, int((values > 0).sum()))])
        assert np.flatnonzero(row).tolist() == best.tolist()
    kept = matrix > 0
    scale = matrix[kept] / cosine[kept]
    np.testing.assert_allclose(scale, scale[0], rtol=1e-5)


def test_a_product_without_a_picture_is_like_nobody() -> None:
    prepared = pictured()
    assert prepared.images is not None
    prepared.images[3] = 0.0
    matrix = ImageSimilarity().fit(prepared).matrix_.toarray()
    assert not matrix[3].any()
    assert not matrix[:, 3].any()


def test_the_part_is_there_where_pictures_are() -> None:
    with_pictures, without = pictured(), interactions()
    for prepared, expected in ((with_pictures, True), (without, False)):
        parts = Parts(prepared, neighbours=5, seed=0, rank=0)
        assert (IMAGES in parts.available()) is expected
    part = Parts(with_pictures, neighbours=5, seed=0, rank=0).part(IMAGES, Parameters())
    assert part.shape == (12, 12)


def test_without_pictures_the_part_says_what_is_missing() -> None:
    with pytest.raises(DataQualityError, match="without image embeddings"):
        ImageSimilarity().fit(interactions())


def test_pictures_survive_the_disk_and_the_split(tmp_path: Path) -> None:
    prepared = pictured()
    save(prepared, tmp_path)
    found = load(tmp_path)
    np.testing.assert_array_equal(found.images, prepared.images)
    assert found.take(found.split == 0).images is found.images
