"""Pictures that a request names by key, from the tenant's own prefix only. Runs in a Lambda."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from inference.errors import BadRequestError

MAX_BYTES = 20 * 2**20
_PATH = "$.image_key"
_MISSING = ("NoSuchKey", "404", "AccessDenied", "403")


@dataclass
class PictureStore:
    """`prefix` is what every key must begin with: another tenant's objects are out of reach."""

    bucket: str
    prefix: str
    s3: Any = field(default=None)

    def fetch(self, key: str) -> bytes:
        """The object's bytes. Raises `BadRequestError` for a key outside, missing or too large."""
        from botocore.exceptions import ClientError

        if not key.startswith(self.prefix) or "/../" in key:
            raise BadRequestError(f"expected a key that begins with {self.prefix!r}", path=_PATH)
        try:
            found = self._client().get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _MISSING:
                raise
            raise BadRequestError(f"there is no object {key!r}", path=_PATH) from error
        if found["ContentLength"] > MAX_BYTES:
            raise BadRequestError(
                f"{found['ContentLength']:,} bytes; at most {MAX_BYTES:,} are read", path=_PATH
            )
        return bytes(found["Body"].read())

    def _client(self) -> Any:
        if self.s3 is None:
            import boto3

            self.s3 = boto3.client("s3")
        return self.s3
