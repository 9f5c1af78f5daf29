"""Profiles in DynamoDB: one item a customer, read consistently, written conditionally.

The item's key is `<tenant>#<customer_id>`, which is what a tenant's role is limited to; `stored` is
the profile with the answers given, as MessagePack; `revision` is what a write must have seen;
`expires_at` is when DynamoDB forgets a customer nobody wrote about. Runs in a Lambda.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import msgspec

from inference.dynamo import TenantTable
from inference.profiles import (
    Change,
    ProfileChangedError,
    ProfileFullError,
    ProfileStoreError,
    Stored,
    changed,
)

MAX_BYTES = 60 * 1024  # of 64 KB that an item may cost to read; the rest is the key
_READ_AT_ONCE = 100  # as many as a call takes; at `MAX_BYTES` each, 6 of its 16 MB
_decoder = msgspec.msgpack.Decoder(Stored)


class DynamoProfiles(TenantTable):
    """The customers of one tenant in the stage's table.

    A read that times out is an error like any other: the decision is made without the profile.
    """

    def read(self, customer_id: str) -> Stored:
        """What is known of the customer. Raises `ProfileStoreError`."""
        key = self._key(customer_id)
        item = self._call("get_item", Key=key, ConsistentRead=True).get("Item")
        return Stored() if item is None else self._stored(item)

    def read_many(self, customer_ids: Iterable[str]) -> dict[str, Stored]:
        """What is known of some customers, a hundred a call; who is missing in the answer, as
        DynamoDB may leave some out, is to be read alone. Raises `ProfileStoreError`."""
        found: dict[str, Stored] = {}
        rest = iter(dict.fromkeys(customer_ids))
        while some := list(islice(rest, _READ_AT_ONCE)):
            found |= self._batch(some)
        return found

    def _batch(self, customer_ids: list[str]) -> dict[str, Stored]:
        keys = [self._key(customer_id) for customer_id in customer_ids]
        asked = {self._table: {"Keys": keys, "ConsistentRead": True}}
        answer = self._called("batch_get_item", RequestItems=asked)
        items = {i["id"]["S"]: i for i in answer["Responses"].get(self._table, [])}
        left_out = answer.get("UnprocessedKeys", {}).get(self._table, {}).get("Keys", [])
        return {
            customer_id: self._stored(items[key["id"]["S"]])
            if key["id"]["S"] in items
            else Stored()
            for customer_id, key in zip(customer_ids, keys, strict=True)
            if key not in left_out
        }

    def _stored(self, item: dict[str, Any]) -> Stored:
        """DynamoDB forgets within days of the time; what has passed it is forgotten already."""
        try:
            revision = int(item["revision"]["N"])
            if float(item["expires_at"]["N"]) <= self._clock():
                return Stored(revision=revision)
            stored = _decoder.decode(item["stored"]["B"])
        except (KeyError, ValueError, msgspec.MsgspecError) as error:
            raise ProfileStoreError(f"a profile that cannot be read: {error}") from error
        return msgspec.structs.replace(stored, revision=revision)

    def record(self, customer_id: str, seen: Stored, change: Change) -> None:
        """Add a change to the revision that was seen; see `ProfileStore`."""
        self.write(customer_id, seen, changed(seen, change))

    def write(self, customer_id: str, seen: Stored, new: Stored) -> None:
        """Replace the revision that was seen. Raises like `record`, and `ProfileFullError`."""
        item = {
            **self._key(customer_id),
            "stored": {"B": bounded(new)},
            "revision": {"N": str(new.revision)},
            "expires_at": self._expires_at(),
        }
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(id)"}
        if seen.revision:
            condition = {
                "ConditionExpression": "revision = :seen",
                "ExpressionAttributeValues": {":seen": {"N": str(seen.revision)}},
            }
        self._call("put_item", Item=item, **condition)

    def _key(self, customer_id: str) -> dict[str, Any]:
        return {"id": {"S": f"{self._tenant}#{customer_id}"}}

    def _call(self, operation: str, **parameters: Any) -> dict[str, Any]:
        return self._called(operation, TableName=self._table, **parameters)

    def _called(self, operation: str, **parameters: Any) -> dict[str, Any]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return dict(getattr(self._client, operation)(**parameters))
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                raise ProfileChangedError("another decision wrote the profile first") from error
            raise ProfileStoreError(f"{self._table} refused {operation}: {error}") from error
        except BotoCoreError as error:
            raise ProfileStoreError(f"{self._table} did not answer: {error}") from error


def bounded(stored: Stored) -> bytes:
    """The item's payload, at most `MAX_BYTES`: the oldest half of the interactions goes first, and
    again; then the oldest answers; then the oldest half of the contacts, and again.

    Raises `ProfileFullError` where consents and attributes alone are more.
    """
    content = msgspec.msgpack.encode(stored)
    while len(content) > MAX_BYTES:
        stored = _smaller(stored, len(content))
        content = msgspec.msgpack.encode(stored)
    return content


def _smaller(stored: Stored, size: int) -> Stored:
    interactions, contacts = stored.interactions, stored.profile.contacts
    if interactions:
        kept = interactions[len(interactions) // 2 + 1 :]
        return msgspec.structs.replace(stored, interactions=kept)
    if stored.answers:
        return msgspec.structs.replace(stored, answers=dict(list(stored.answers.items())[1:]))
    if contacts:
        profile = msgspec.structs.replace(
            stored.profile, contacts=contacts[len(contacts) // 2 + 1 :]
        )
        return msgspec.structs.replace(stored, profile=profile)
    raise ProfileFullError(f"a profile of {size:,} bytes; at most {MAX_BYTES:,}")
