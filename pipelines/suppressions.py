"""A tenant's list of who was erased, as one object in S3. Used by erasures, imports and sync.

Two erasures at once lose nothing: each writes only over what it has read, or reads again.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime

import msgspec
from botocore.exceptions import ClientError

from inference.suppression import NOBODY, SALT_BYTES, Suppression, encode_suppression
from inference.suppression_store import read_stored, suppression_key
from pipelines.errors import ErasureError
from pipelines.stage import Stage, check_tenant

_ATTEMPTS = 20
# Somebody wrote meanwhile; S3 says 409 while another conditional write goes on.
_AGAIN = ("PreconditionFailed", "ConditionalRequestConflict")


def read(stage: Stage, tenant: str) -> Suppression:
    """The list as it is now; nobody before the first erasure. Raises `SuppressionError`."""
    return read_stored(stage.client("s3"), stage.bucket, check_tenant(tenant))[0]


def suppress(stage: Stage, tenant: str, erased: Mapping[str, datetime]) -> Suppression:
    """Put customers on the list, each with the time up to which, atomically; the list with them.

    Raises `ErasureError` where others are faster too often.
    """
    s3, key = stage.client("s3"), suppression_key(check_tenant(tenant))
    for _ in range(_ATTEMPTS):
        known, tag = read_stored(s3, stage.bucket, tenant)
        wanted = known if known.salt else _salted()
        for customer_id, at in erased.items():
            wanted = wanted.with_erased([customer_id], at=at)
        if wanted == known:
            return known
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        body = encode_suppression(wanted)
        try:
            s3.put_object(Bucket=stage.bucket, Key=key, Body=body, **condition)
            return wanted
        except ClientError as error:
            if error.response["Error"]["Code"] not in _AGAIN:
                raise
    raise ErasureError(
        f"{key} was written {_ATTEMPTS} times meanwhile; nobody was "
        "put on it. Run the command again"
    )


def _salted() -> Suppression:
    return msgspec.structs.replace(NOBODY, salt=secrets.token_hex(SALT_BYTES))
