"""Fetches the model a Lambda version is pinned to, once per process. Runs in a Lambda."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from inference.artifact import unpack
from inference.errors import ArtifactError


def fetch_model(uri: str, *, s3: Any = None) -> Path:
    """Download and unpack `s3://bucket/key/model.tar.gz` into a folder of its own.

    Raises `ArtifactError` when there is no such object or it cannot be unpacked.
    """
    from botocore.exceptions import ClientError  # 0.1 s: only where a model must be fetched

    parsed = urlparse(uri)
    if parsed.scheme != "s3" or not parsed.path.strip("/"):
        raise ArtifactError(f"{uri!r} is no model's address; expected s3://bucket/…/model.tar.gz")
    folder = Path(tempfile.mkdtemp(prefix="nextbest-model-"))
    archive = folder / "model.tar.gz"
    try:
        (s3 or _s3()).download_file(parsed.netloc, parsed.path.lstrip("/"), str(archive))
    except ClientError as error:
        raise ArtifactError(f"{uri}: {error}") from error
    unpack(archive, folder)
    archive.unlink()
    return folder


def _s3() -> Any:
    import boto3

    return boto3.client("s3")
