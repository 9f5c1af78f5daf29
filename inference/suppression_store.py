"""A tenant's list of who was erased, as it is in S3 now. Read in the Lambdas that keep what
customers do, and by the command line."""

from __future__ import annotations

from typing import Any

from inference.objects import read_object
from inference.suppression import FILE, NOBODY, Suppression, decode_suppression


def suppression_key(tenant: str) -> str:
    return f"tenants/{tenant}/{FILE}"


def read_stored(s3: Any, bucket: str, tenant: str) -> tuple[Suppression, str | None]:
    """The list and its ETag; nobody and None before the first erasure.

    Raises `SuppressionError` for a list that is broken, and what S3 does where it does not answer:
    what cannot be read is not an empty list. Who may not list the bucket is refused (403) where
    there is none.
    """
    found = read_object(s3, bucket, suppression_key(tenant))
    return (NOBODY, None) if found is None else (decode_suppression(found[0]), found[1])
