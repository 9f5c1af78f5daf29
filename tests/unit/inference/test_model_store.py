"""A model's address becomes a folder, or an error that names the address."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from inference import artifact
from inference.errors import ArtifactError
from inference.model_store import fetch_model
from inference.recommender import Recommender
from tests.unit.inference import small_model


class FakeS3:
    """Holds objects as files; answers 404 like S3 does for what it does not hold."""

    def __init__(self, objects: dict[tuple[str, str], Path]) -> None:
        self.objects = objects

    def download_file(self, bucket: str, key: str, target: str) -> None:
        if (bucket, key) not in self.objects:
            error = {"Error": {"Code": "404", "Message": "Not Found"}}
            raise ClientError(error, "HeadObject")
        shutil.copy(self.objects[bucket, key], target)


@pytest.fixture(autouse=True)
def _temporary_folders_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    artifact.pack(small_model.write(tmp_path / "model"), tmp_path / "model.tar.gz")
    return tmp_path / "model.tar.gz"


def test_a_model_is_fetched_unpacked_and_the_archive_removed(archive: Path) -> None:
    s3 = FakeS3({("bucket", "acme/run-1/model.tar.gz"): archive})
    folder = fetch_model("s3://bucket/acme/run-1/model.tar.gz", s3=s3)
    assert Recommender.open(folder).product_ids == small_model.PRODUCTS
    assert not (folder / "model.tar.gz").exists()


def test_each_fetch_has_its_own_folder(archive: Path) -> None:
    s3 = FakeS3({("bucket", "m.tar.gz"): archive})
    assert fetch_model("s3://bucket/m.tar.gz", s3=s3) != fetch_model("s3://bucket/m.tar.gz", s3=s3)


def test_a_missing_object_is_an_artifact_error_with_the_address() -> None:
    with pytest.raises(ArtifactError, match=r"s3://bucket/m\.tar\.gz: .*Not Found"):
        fetch_model("s3://bucket/m.tar.gz", s3=FakeS3({}))


def test_a_broken_archive_is_an_artifact_error(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(ArtifactError, match="cannot be unpacked"):
        fetch_model("s3://bucket/m.tar.gz", s3=FakeS3({("bucket", "m.tar.gz"): archive}))


@pytest.mark.parametrize("uri", ["", "model.tar.gz", "https://b/m.tar.gz", "s3://b", "s3://b/"])
def test_what_is_no_address_is_refused(uri: str) -> None:
    with pytest.raises(ArtifactError, match="is no model's address"):
        fetch_model(uri, s3=FakeS3({}))
