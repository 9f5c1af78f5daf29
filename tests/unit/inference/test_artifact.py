"""A model on disk is what was written, or it is refused."""

import tarfile

import numpy as np
import pytest

from inference import artifact
from inference.errors import ArtifactError


@pytest.fixture
def folder(tmp_path):
    artifact.write(
        tmp_path / "model",
        manifest={"kind": "test"},
        arrays={"a": np.arange(5.0)},
        tables={"t": ["x", None]},
    )
    return tmp_path / "model"


def test_round_trip(folder):
    found = artifact.open_artifact(folder, kind="test")
    np.testing.assert_array_equal(found.arrays["a"], np.arange(5.0))
    assert found.tables["t"] == ["x", None]


def spoil_array(folder):
    path = folder / "a.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def remove_array(folder):
    (folder / "a.npy").unlink()


def remove_manifest(folder):
    (folder / "manifest.json").unlink()


def future_format(folder):
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 9'))


def no_json(folder):
    (folder / "manifest.json").write_text("{")


@pytest.mark.parametrize(
    "spoil", [spoil_array, remove_array, remove_manifest, future_format, no_json]
)
def test_a_spoilt_model_is_refused(folder, spoil):
    spoil(folder)
    with pytest.raises(ArtifactError):
        artifact.open_artifact(folder, kind="test")


def test_another_kind_is_refused(folder):
    with pytest.raises(ArtifactError, match="expected a 'other'"):
        artifact.open_artifact(folder, kind="other")


def test_packing_twice_gives_the_same_bytes_and_unpacks(folder, tmp_path):
    for name in ("one.tar.gz", "two.tar.gz"):
        artifact.pack(folder, tmp_path / name)
    assert (tmp_path / "one.tar.gz").read_bytes() == (tmp_path / "two.tar.gz").read_bytes()
    artifact.unpack(tmp_path / "one.tar.gz", tmp_path / "again")
    artifact.open_artifact(tmp_path / "again", kind="test")


def test_a_truncated_archive_is_refused(folder, tmp_path):
    artifact.pack(folder, tmp_path / "whole.tar.gz")
    half = tmp_path / "half.tar.gz"
    half.write_bytes((tmp_path / "whole.tar.gz").read_bytes()[:100])
    with pytest.raises(ArtifactError, match="cannot be unpacked"):
        artifact.unpack(half, tmp_path / "out")


def test_an_archive_cannot_write_outside(tmp_path):
    (tmp_path / "evil").write_text("x")
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "evil", arcname="../outside")
    with pytest.raises(ArtifactError):
        artifact.unpack(tmp_path / "evil.tar.gz", tmp_path / "out")
    assert not (tmp_path / "outside").exists()
