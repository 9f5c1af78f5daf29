"""Single objects in S3 that may not be there, and are written only over what was read.

`s3` is a boto3 client. Used in Lambdas and by the command line.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

GONE = ("NoSuchKey", "404")
# Somebody wrote meanwhile; S3 says 409 while another conditional write goes on.
CHANGED = ("PreconditionFailed", "ConditionalRequestConflict")


def code_of(error: ClientError) -> str:
    """What AWS calls an error."""
    return str(error.response["Error"]["Code"])


def read_object(s3: Any, bucket: str, key: str) -> tuple[bytes, str] | None:
    """An object's bytes and its ETag; None where there is none.

    Who may not list the bucket is refused (403, as `ClientError`) where there is none.
    """
    try:
        found = s3.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if code_of(error) in GONE:
            return None
        raise
    return bytes(found["Body"].read()), str(found["ETag"])


def replace_object(s3: Any, bucket: str, key: str, body: bytes, *, tag: str | None) -> bool:
    """Write JSON over the object of that ETag, None: where there is none. False where somebody
    wrote meanwhile."""
    condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
    try:
        s3.put_object(
            Bucket=bucket, Key=key, Body=body, ContentType="application/json", **condition
        )
    except ClientError as error:
        if code_of(error) in CHANGED:
            return False
        raise
    return True
