"""The process of a Lambda in a test: a model in S3, its address in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import boto3
import pytest
from moto import mock_aws

from inference import artifact

ENVIRONMENT = {
    "NEXTBEST_MODEL": "s3://models/acme/model.tar.gz",
    "NEXTBEST_TENANT": "acme",
    "NEXTBEST_RUN": "run-1",
    "NEXTBEST_APPRENTICE": "",
    "AWS_LAMBDA_FUNCTION_VERSION": "7",
    "AWS_DEFAULT_REGION": "eu-west-1",
}


@contextmanager
def lambda_process(
    handler: ModuleType, model: Path, *, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """The module of a handler as if Lambda had just started it, on the model in that folder."""
    artifact.pack(model, tmp_path / "model.tar.gz")
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    _forget(handler)
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="models")
        s3.upload_file(str(tmp_path / "model.tar.gz"), "models", "acme/model.tar.gz")
        yield
    _forget(handler)


def _forget(handler: ModuleType) -> None:
    handler.service.cache_clear()
    handler.telemetry.cache_clear()


def gateway(body: str | None, *, encoded: bool = False) -> dict[str, object]:
    """An API Gateway proxy event, payload format 2.0."""
    return {"version": "2.0", "requestContext": {}, "body": body, "isBase64Encoded": encoded}
