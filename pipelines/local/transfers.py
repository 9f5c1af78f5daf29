"""What moves between S3 and the folders of a job on the local stage: channels, sources, outputs."""

from __future__ import annotations

import json
import shutil
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from inference.artifact import pack
from inference.errors import ArtifactError


class ClientFault(Exception):
    """A request that cannot be carried out: missing channel, missing source."""


def download(s3: Any, uri: str, target: Path, *, what: str | None) -> None:
    """Every object under an S3 prefix, or the one object of that key.

    Nothing there is a `ClientFault` naming `what`; fine when `what` is None.
    """
    parsed = urlparse(uri)
    bucket, prefix = parsed.netloc, parsed.path.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    found = 0
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix):
        for item in page.get("Contents", []):
            rest = item["Key"][len(prefix) :]
            if rest and not rest.startswith("/") and not prefix.endswith("/"):
                continue  # another key that merely begins alike
            name = rest.lstrip("/") or Path(item["Key"]).name
            path = target / name
            path.parent.mkdir(parents=True, exist_ok=True)
            s3.download_file(bucket, item["Key"], str(path))
            found += 1
    if not found and what is not None:
        raise ClientFault(f"no S3 objects found under {uri!r} given for {what}")


def download_manifest(s3: Any, uri: str, target: Path, *, what: str) -> None:
    """The objects that a manifest lists: `[{"prefix": "s3://…/"}, "key below it", …]`.

    Source: docs.aws.amazon.com, "ProcessingS3Input", S3DataType.
    """
    parsed = urlparse(uri)
    body = s3.get_object(Bucket=parsed.netloc, Key=parsed.path.lstrip("/"))["Body"].read()
    start, *keys = json.loads(body)
    place = urlparse(start["prefix"])
    if not keys:
        raise ClientFault(f"the manifest {uri!r} given for {what} lists no object")
    for key in keys:
        path = target / key
        path.parent.mkdir(parents=True, exist_ok=True)
        s3.download_file(place.netloc, f"{place.path.lstrip('/')}{key}", str(path))


def upload(s3: Any, folder: Path, uri: str) -> None:
    """Every file of a folder, under an S3 prefix."""
    parsed = urlparse(uri)
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        key = f"{parsed.path.strip('/')}/{path.relative_to(folder)}"
        s3.upload_file(str(path), parsed.netloc, key)


def unpack_source(s3: Any, uri: str, folder: Path) -> None:
    """Download and unpack a source tarball."""
    folder.mkdir(parents=True, exist_ok=True)
    download(s3, uri, folder / ".source", what=f"source {uri}")
    archive = next((folder / ".source").iterdir())
    try:
        with tarfile.open(archive, "r:gz") as tar:
            tar.extractall(folder, filter="data")
    except tarfile.TarError as error:
        raise ClientFault(f"{uri} is no source tarball: {error}") from error
    shutil.rmtree(folder / ".source")


def upload_archive(s3: Any, folder: Path, uri: str, *, scratch: Path) -> None:
    """A folder as one `.tar.gz` of that URI, made in `scratch`. Raises `ArtifactError`."""
    archive = scratch / "archive.tar.gz"
    try:
        pack(folder, archive)
    except OSError as error:
        raise ArtifactError(f"could not pack {folder}: {error}") from error
    parsed = urlparse(uri)
    s3.upload_file(str(archive), parsed.netloc, parsed.path.lstrip("/"))
