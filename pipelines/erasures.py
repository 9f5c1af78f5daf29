"""Erasing customers from all that a tenant holds, and the requests for it that events made.

Used by `nextbest customers erase` and, to tell how many wait, by `nextbest data sync`. First the
profile, then the tenant's list, which keeps out what comes late; from then on the list alone says
what is to do. So an erasure that is killed is finished by the next one, or by `erase --pending`.
"""

from __future__ import annotations

import io
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pyarrow import parquet as files

from inference.archive import folder_of
from inference.customer_events import bring_in
from inference.dynamo_profiles import DynamoProfiles
from inference.event_contracts import Erasure
from inference.suppression import Suppression
from pipelines import suppressions
from pipelines.erased_objects import Pass, Progress, Rewriter, listed
from pipelines.erased_traces import delete_letters, delete_prepared, delete_unsent, running
from pipelines.errors import ErasureError
from pipelines.receipts import Receipt, list_receipts, receipt_id, unfinished, write_receipt
from pipelines.stage import Stage, check_tenant

SETTLED_AFTER_SECONDS = 5.0  # a write that asked the list before it changed has ended by then
_PASSES = 20


@dataclass
class Erased:
    """What an erasure has done. Without a receipt it is not finished: `waiting` are executions
    that go on, `unreadable` objects of which nobody knows who is in them."""

    receipt: Receipt | None = None
    done: Pass = field(default_factory=Pass)
    dead_letters: int = 0
    unsent_decisions: int = 0
    waiting: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Clocks:
    """What time it is, how long something took, and how to wait."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    seconds: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


CLOCKS = Clocks()


def pending(stage: Stage, tenant: str) -> dict[str, datetime]:
    """Who asked by an event to be erased and is not yet, with the time up to which.

    An erasure that is carried out takes its request out of the archive.
    """
    s3, found = stage.client("s3"), dict[str, datetime]()
    for item in listed(s3, stage.bucket, f"{folder_of(check_tenant(tenant), 'erasures')}/"):
        body = s3.get_object(Bucket=stage.bucket, Key=item.key)["Body"].read()
        rows = files.read_table(io.BytesIO(body), columns=["customer_id", "timestamp"])
        for row in rows.to_pylist():
            customer, at = row["customer_id"], row["timestamp"]
            found[customer] = max(found.get(customer, at), at)
    return found


def erase(
    stage: Stage,
    tenant: str,
    customers: Mapping[str, datetime],
    *,
    progress: Progress,
    clocks: Clocks = CLOCKS,
) -> Erased:
    """Erase customers, each with what happened up to a time; with them whoever was left over from
    an erasure that did not finish. Done twice, it ends in the same state.

    Raises `ProfileStoreError`, `SuppressionError` and `ErasureError`.
    """
    if "" in customers:  # a blank one may have asked by an event, and must not hold up the others
        raise ErasureError("'' is no customer's id; expected e.g. 'c-1042'")
    for customer_id, at in customers.items():
        forget(stage, tenant, customer_id, at=at)
    suppressions.suppress(stage, tenant, customers)
    return carry_out(stage, tenant, progress=progress, clocks=clocks)


def left_over(stage: Stage, tenant: str) -> dict[str, datetime]:
    """Hashes of who is on the tenant's list and on no receipt, with the time up to which."""
    return unfinished(suppressions.read(stage, tenant), list_receipts(stage, tenant))


def carry_out(stage: Stage, tenant: str, *, progress: Progress, clocks: Clocks = CLOCKS) -> Erased:
    """Go through all that the tenant holds until nobody on its list is in it; write the receipt."""
    began, found = clocks.seconds(), Erased()
    found.waiting = running(stage, tenant)
    found.done.deleted["runs"] += delete_prepared(stage, tenant, but=found.waiting)
    suppression = _rewritten(
        stage, tenant, found.done, progress=progress, began=began, clocks=clocks
    )
    found.dead_letters = delete_letters(stage, tenant, suppression)
    found.unsent_decisions = delete_unsent(stage, tenant, suppression)
    if not found.waiting and not found.done.unreadable:
        found.receipt = _receipt(stage, tenant, suppression, found, now=clocks.now())
    return found


def _rewritten(
    stage: Stage, tenant: str, done: Pass, *, progress: Progress, began: float, clocks: Clocks
) -> Suppression:
    """Passes until one, begun when all writes have settled, finds nothing; the list it was for."""
    suppression = suppressions.read(stage, tenant)
    rewriter = Rewriter(stage, tenant, suppression)
    for _ in range(_PASSES):
        settled = clocks.seconds() - began >= SETTLED_AFTER_SECONDS
        last = rewriter.run(progress)
        done.add(last)
        current = suppressions.read(stage, tenant)
        if current != suppression:
            suppression, rewriter = current, Rewriter(stage, tenant, current)
            began = clocks.seconds()
        elif settled and not last.changed:
            return suppression
        elif not last.changed:
            clocks.sleep(max(0.0, SETTLED_AFTER_SECONDS - (clocks.seconds() - began)))
    raise ErasureError(
        f"{tenant}: in each of {_PASSES} passes somebody wrote what had to be erased. Nothing is "
        "lost: run nextbest customers erase --pending"
    )


def _receipt(
    stage: Stage, tenant: str, suppression: Suppression, found: Erased, *, now: datetime
) -> Receipt | None:
    """Written for everybody on the list who has none; None where all have."""
    customers = unfinished(suppression, list_receipts(stage, tenant))
    if not customers:
        return None
    receipt = Receipt(
        id=receipt_id(now, customers),
        finished_at=now,
        customers=customers,
        rewritten=_counts(found.done.rewritten),
        deleted=_counts(found.done.deleted),
        rows=_counts(found.done.rows),
        dead_letters=found.dead_letters,
        unsent_decisions=found.unsent_decisions,
    )
    write_receipt(stage, tenant, receipt)
    return receipt


def _counts(found: Counter[str]) -> dict[str, int]:
    return {area: count for area, count in sorted(found.items()) if count}


def forget(stage: Stage, tenant: str, customer_id: str, *, at: datetime) -> None:
    """Empty a customer's profile at once, as an erasure event does; its time stays, for what
    arrives late. Raises `ProfileStoreError`."""
    dynamodb: Any = stage.client("dynamodb")
    profiles = DynamoProfiles(stage.profiles_table, check_tenant(tenant), client=dynamodb)
    event = Erasure(
        schema_version=1,
        event_id=uuid.uuid4().hex,
        tenant=tenant,
        customer_id=customer_id,
        timestamp=at,
    )
    bring_in(profiles, customer_id, [event])
