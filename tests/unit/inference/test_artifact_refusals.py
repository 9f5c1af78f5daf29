"""Any array and table round-trips; every way a model can be wrong is refused with its name."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from inference import artifact
from inference.errors import ArtifactError
from tests.unit.inference import small_model


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    path = folder / artifact.MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return small_model.write(tmp_path / "model")


@settings(max_examples=40, deadline=None)
@given(
    array=hnp.arrays(
        dtype=st.sampled_from([np.int32, np.int64, np.float32, np.float64]),
        shape=hnp.array_shapes(min_side=0, max_dims=2, max_side=5),
    ),
    table=st.lists(st.text() | st.none() | st.integers(-(2**53), 2**53)),
)
def test_arrays_and_tables_round_trip(
    tmp_path_factory: pytest.TempPathFactory, array: np.ndarray, table: list[Any]
) -> None:
    folder = tmp_path_factory.mktemp("round-trip")
    artifact.write(folder, manifest={"kind": "x"}, arrays={"a": array}, tables={"t": table})
    opened = artifact.open_artifact(folder, kind="x")
    assert opened.arrays["a"].dtype == array.dtype
    np.testing.assert_array_equal(opened.arrays["a"], array)
    assert opened.tables["t"] == table


def test_an_opened_array_is_read_only(model: Path) -> None:
    trend = artifact.open_artifact(model, kind="recommender").arrays["trend"]
    with pytest.raises(ValueError, match="read-only"):
        trend[0] = 1.0


@pytest.mark.parametrize("name", ["recent.npy", "product_ids.json"])
def test_an_altered_or_missing_file_is_named(model: Path, name: str) -> None:
    content = bytearray((model / name).read_bytes())
    content[-1] ^= 1
    (model / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=rf"{name}: sha256 .* the manifest says"):
        artifact.open_artifact(model, kind="recommender")
    (model / name).unlink()
    with pytest.raises(ArtifactError, match=rf"{name}: named in the manifest but missing"):
        artifact.open_artifact(model, kind="recommender")


@pytest.mark.parametrize("version", [None, 0, 1, 3, "2"])
def test_an_unknown_format_version_is_refused(model: Path, version: object) -> None:
    rewrite_manifest(model, format_version=version)
    with pytest.raises(ArtifactError, match="is unknown; this code reads version 2"):
        artifact.open_artifact(model, kind="recommender")


@pytest.mark.parametrize("text", ["[]", "{}", '{"files": []}'])
def test_a_manifest_without_files_is_refused(model: Path, text: str) -> None:
    (model / artifact.MANIFEST).write_text(text)
    with pytest.raises(ArtifactError, match="lists no files"):
        artifact.open_artifact(model, kind="recommender")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_archive_cut_anywhere_is_refused(model: Path, tmp_path: Path, share: float) -> None:
    archive = tmp_path / "model.tar.gz"
    artifact.pack(model, archive)
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ArtifactError, match=r"model\.tar\.gz: cannot be unpacked"):
        artifact.unpack(archive, tmp_path / "out")


def test_an_archive_cannot_link_outside_its_folder(tmp_path: Path) -> None:
    archive = tmp_path / "evil.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "../../etc"
        tar.addfile(info)
    with pytest.raises(ArtifactError, match="cannot be unpacked"):
        artifact.unpack(archive, tmp_path / "out")


def test_a_file_touched_after_unpacking_is_hashed_again(model: Path, tmp_path: Path) -> None:
    archive, folder = tmp_path / "model.tar.gz", tmp_path / "out"
    artifact.pack(model, archive)
    artifact.unpack(archive, folder)
    artifact.open_artifact(folder, kind="recommender")
    content = bytearray((folder / "recent.npy").read_bytes())
    content[-1] ^= 1
    (folder / "recent.npy").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"recent\.npy: sha256"):
        artifact.open_artifact(folder, kind="recommender")


def test_an_archive_whose_content_is_not_its_manifest_s_is_refused(
    model: Path, tmp_path: Path
) -> None:
    """What unpacking hashed is what it wrote, not what the manifest claims."""
    content = bytearray((model / "recent.npy").read_bytes())
    content[-1] ^= 1
    (model / "recent.npy").write_bytes(content)
    artifact.pack(model, tmp_path / "model.tar.gz")
    artifact.unpack(tmp_path / "model.tar.gz", tmp_path / "out")
    with pytest.raises(ArtifactError, match=r"recent\.npy: sha256"):
        artifact.open_artifact(tmp_path / "out", kind="recommender")


def test_what_was_unpacked_is_known_until_it_is_touched(model: Path, tmp_path: Path) -> None:
    artifact.pack(model, tmp_path / "model.tar.gz")
    artifact.unpack(tmp_path / "model.tar.gz", tmp_path / "out")
    path = tmp_path / "out" / "recent.npy"
    manifest = json.loads((model / artifact.MANIFEST).read_text())
    assert artifact.known_sha256(path) == manifest["files"]["recent.npy"]
    path.touch()
    assert artifact.known_sha256(path) is None
    assert artifact.known_sha256(model / "recent.npy") is None


@pytest.mark.parametrize("name", ["../trend.npy", "/etc/hostname", "deep/../trend.npy", "..", ""])
def test_a_file_outside_the_models_folder_is_never_opened(model: Path, name: str) -> None:
    outside = model.parent / "trend.npy"
    outside.write_bytes((model / "trend.npy").read_bytes())
    files = json.loads((model / artifact.MANIFEST).read_text())["files"]
    rewrite_manifest(model, files={**files, name: files["trend.npy"]})
    with pytest.raises(ArtifactError, match="expected a plain file of its own folder"):
        artifact.open_artifact(model, kind="recommender")


def test_a_link_out_of_the_models_folder_is_never_followed(model: Path) -> None:
    outside = model.parent / "trend.npy"
    (model / "trend.npy").rename(outside)
    (model / "trend.npy").symlink_to(outside)
    with pytest.raises(ArtifactError, match="expected a plain file of its own folder"):
        artifact.open_artifact(model, kind="recommender")
