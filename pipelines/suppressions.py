"""A tenant's list of who was erased, as one object in S3. Used by erasures, imports and sync.

Two erasures at once lose nothing: each writes only over what it has read, or reads again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from datetime import datetime

import msgspec
from botocore.exceptions import ClientError

from inference.suppression import (
    FILE,
    NOBODY,
    SALT_BYTES,
    Suppression,
    decode_suppression,
    encode_suppression,
)
from pipelines.errors import ErasureError
from pipelines.stage import Stage

_ATTEMPTS = 20
# Somebody wrote meanwhile; S3 says 409 while another conditional write goes on.
_AGAIN = ("PreconditionFailed", "ConditionalRequestConflict")


def suppression_key(stage: Stage, tenant: str) -> str:
    return f"{stage.tenant_prefix(tenant)}/{FILE}"


def read(stage: Stage, tenant: str) -> Suppression:
    """The list as it is now; nobody before the first erasure. Raises `SuppressionError`."""
    return _read(stage, tenant)[0]


def suppress(
    stage: Stage, tenant: str, customer_ids: Iterable[str], *, at: datetime
) -> Suppression:
    """Put customers on the list, atomically; the list with them.

    Raises `ErasureError` where others are faster too often.
    """
    found, s3 = list(customer_ids), stage.client("s3")
    for _ in range(_ATTEMPTS):
        known, tag = _read(stage, tenant)
        salted = known if known.salt else _salted()
        wanted = salted.with_erased(found, at=at)
        if wanted == known:
            return known
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        body = encode_suppression(wanted)
        key = suppression_key(stage, tenant)
        try:
            s3.put_object(Bucket=stage.bucket, Key=key, Body=body, **condition)
            return wanted
        except ClientError as error:
            if error.response["Error"]["Code"] not in _AGAIN:
                raise
    raise ErasureError(
        f"{suppression_key(stage, tenant)} was written {_ATTEMPTS} times meanwhile; nobody was "
        "put on it. Run the command again"
    )


def _salted() -> Suppression:
    return msgspec.structs.replace(NOBODY, salt=secrets.token_hex(SALT_BYTES))


def _read(stage: Stage, tenant: str) -> tuple[Suppression, str | None]:
    """The list and the ETag of what was read, None where there is no object."""
    try:
        found = stage.client("s3").get_object(
            Bucket=stage.bucket, Key=suppression_key(stage, tenant)
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
            return NOBODY, None
        raise
    return decode_suppression(found["Body"].read()), str(found["ETag"])
