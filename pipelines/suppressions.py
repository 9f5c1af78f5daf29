"""A tenant's list of who was erased, as one object in S3. Used by erasures, imports and sync.

Two erasures at once lose nothing: each writes only over what it has read, or reads again.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime

import msgspec

from inference.objects import replace_object
from inference.suppression import NOBODY, SALT_BYTES, Suppression, encode_suppression
from inference.suppression_store import read_stored, suppression_key
from pipelines.errors import ErasureError
from pipelines.stage import Stage, check_tenant

_ATTEMPTS = 20


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
        if replace_object(s3, stage.bucket, key, encode_suppression(wanted), tag=tag):
            return wanted
    raise ErasureError(
        f"{key} was written {_ATTEMPTS} times meanwhile; nobody was "
        "put on it. Run the command again"
    )


def _salted() -> Suppression:
    return msgspec.structs.replace(NOBODY, salt=secrets.token_hex(SALT_BYTES))
