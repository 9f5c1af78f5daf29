"""Who was erased: salted hashes of customers' ids, each with the time of the erasure.

One object a tenant, `tenants/<tenant>/suppression.json`, written by `nextbest customers erase`.
Read in jobs, Lambdas and by the command line before anything of a customer is kept: what happened
up to an erasure stays out, whenever and from wherever it comes; what happens later is new.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from inference.errors import NextbestError

FILE = "suppression.json"
SALT_BYTES = 16


class SuppressionError(NextbestError):
    """A list of the erased that cannot be read; without it nothing may be kept of anybody."""


class Suppression(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`erased` is by hash; `salt` is hexadecimal, the tenant's own, and never changes."""

    salt: str = ""
    erased: dict[str, Annotated[datetime, Meta(tz=True)]] = {}
    version: Literal[1] = 1

    def hash_of(self, customer_id: str) -> str:
        """SHA-256 of salt and id, hexadecimal."""
        return hashlib.sha256(f"{self.salt}{customer_id}".encode()).hexdigest()

    def erased_at(self, customer_id: str) -> datetime | None:
        """When the customer was erased, the last time; None for anybody else."""
        return self.erased.get(self.hash_of(customer_id)) if self.erased else None

    def suppresses(self, customer_id: str, at: datetime) -> bool:
        """Whether what happened then (with a zone) is not to be kept of the customer."""
        erased = self.erased_at(customer_id)
        return erased is not None and at <= erased

    def with_erased(self, customer_ids: Iterable[str], *, at: datetime) -> Suppression:
        """The list with more customers on it; of two erasures of one the later counts."""
        at = at.astimezone(UTC)
        hashes = map(self.hash_of, customer_ids)
        more = {found: max(self.erased.get(found, at), at) for found in hashes}
        return msgspec.structs.replace(self, erased={**self.erased, **more})


NOBODY = Suppression()
_decoder = msgspec.json.Decoder(Suppression)


def decode_suppression(content: bytes) -> Suppression:
    """A list from its file. Raises `SuppressionError`."""
    try:
        return _decoder.decode(content)
    except msgspec.MsgspecError as error:
        raise SuppressionError(
            f"{FILE} cannot be read: {error}; expected what `nextbest customers erase` wrote. "
            "Restore it before anything else runs: it says whose data must stay out"
        ) from error


def encode_suppression(suppression: Suppression) -> bytes:
    """The file of a list; same list, same bytes."""
    return msgspec.json.encode(suppression, order="deterministic")
