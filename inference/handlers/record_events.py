"""The `record-events` Lambda: events into the archive, the profiles and the products' changes.

Called by Lambda's event source mapping with a batch of Kinesis records, each at least once. What
breaks its contract goes to the dead-letter queue with its error; the rest of the batch lands. A
bucket, table or queue that does not answer fails the batch, which comes again: events are
idempotent. The archive is first, so that nothing is in a profile and nowhere else.
"""

from __future__ import annotations

import base64
import functools
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from inference.archive import Archive, KeepsRows
from inference.customer_events import WritableProfiles, bring_in
from inference.dead_letters import Bury, DeadLetter, grave
from inference.dynamo import impatient_client
from inference.dynamo_products import DynamoProducts
from inference.dynamo_profiles import DynamoProfiles
from inference.errors import BadRequestError
from inference.event_contracts import AnyEvent, OfCustomer, ProductChange, decode_event
from inference.event_rows import rows_of
from inference.profiles import ProfileFullError

Batch = list[tuple[bytes, OfCustomer]]  # records with their events


class WritableProducts(Protocol):
    """Where a tenant's product changes are; `inference.dynamo_products` says what is raised."""

    def record(self, event: ProductChange) -> None: ...


@dataclass(frozen=True)
class Recorder:
    """The archive, profiles and products' changes by tenant, and where dead letters go."""

    archive: KeepsRows
    profiles: Callable[[str], WritableProfiles]
    products: Callable[[str], WritableProducts]
    bury: Bury

    def record(self, records: Iterable[bytes], *, now: datetime, source: str) -> None:
        """Bring records of a shard, `source`, where they belong. Raises `ProfileStoreError`,
        `ProductStoreError`, or what S3 does: all are to come again."""
        events = self._good(records, now=now)
        for tenant, tables in rows_of(event for _, event in events).items():
            self.archive.write(tenant, tables, source=source)
        for _, event in events:
            if isinstance(event, ProductChange):
                self.products(event.tenant).record(event)
        for tenant, batches in _by_customer(events).items():
            self._bring_in(tenant, batches, now=now)

    def _bring_in(self, tenant: str, batches: dict[str, Batch], *, now: datetime) -> None:
        profiles = self.profiles(tenant)
        known = profiles.read_many(batches)
        for customer_id, batch in batches.items():
            theirs = [event for _, event in batch]
            try:
                bring_in(profiles, customer_id, theirs, seen=known.get(customer_id))
            except ProfileFullError as error:
                for raw, _ in batch:
                    self.bury(DeadLetter.of(raw, error, now=now))

    def _good(self, records: Iterable[bytes], *, now: datetime) -> list[tuple[bytes, AnyEvent]]:
        """Records with their events; those that are none are buried."""
        good = []
        for raw in records:
            try:
                good.append((raw, decode_event(raw, now=now)))
            except BadRequestError as error:
                self.bury(DeadLetter.of(raw, error, path=error.path, now=now))
        return good


def _by_customer(events: Iterable[tuple[bytes, AnyEvent]]) -> dict[str, dict[str, Batch]]:
    """What belongs in profiles, by tenant and customer; a reward may name no customer."""
    found: dict[str, dict[str, Batch]] = {}
    for raw, event in events:
        if not isinstance(event, ProductChange) and event.customer_id is not None:
            theirs = found.setdefault(event.tenant, {})
            theirs.setdefault(event.customer_id, []).append((raw, event))
    return found


@functools.cache
def recorder() -> Recorder:
    """The recorder of this process, on the bucket, table and queue of its environment."""
    import boto3

    table, dynamodb = os.environ["NEXTBEST_PROFILES"], boto3.client("dynamodb")
    product_table, impatient = os.environ["NEXTBEST_PRODUCTS"], impatient_client()
    return Recorder(
        archive=Archive(os.environ["NEXTBEST_BUCKET"], s3=boto3.client("s3")),
        profiles=lambda tenant: DynamoProfiles(table, tenant, client=dynamodb),
        products=lambda tenant: DynamoProducts(product_table, tenant, client=impatient),
        bury=grave(os.environ["NEXTBEST_DEAD_LETTERS"], sqs=boto3.client("sqs")),
    )


def handler(event: dict[str, Any], context: Any) -> None:
    """Record a batch of a Kinesis event source mapping."""
    records = [base64.b64decode(found["kinesis"]["data"]) for found in event["Records"]]
    shard = str(event["Records"][0]["eventID"]).split(":")[0]
    recorder().record(records, now=datetime.now(UTC), source=shard)
