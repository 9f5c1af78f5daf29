"""The `record-decisions` Lambda: decisions into the archive, from the stage's stream and from the
queue of those that the stream did not take.

Called by Lambda's event source mappings, with each record at least once. What breaks its contract
is a dead letter; a bucket or queue that does not answer fails the batch, which comes again.
"""

from __future__ import annotations

import base64
import functools
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from inference.archive import Archive, KeepsRows, Row
from inference.dead_letters import DECISIONS, Bury, DeadLetter, grave
from inference.decision_records import decode_record, row_of
from inference.errors import BadRequestError


@dataclass(frozen=True)
class DecisionRecorder:
    """The archive, and where dead letters go."""

    archive: KeepsRows
    bury: Bury

    def record(self, records: Iterable[bytes], *, now: datetime, source: str) -> None:
        """Bring records of a shard or the queue, `source`, into the archive. Raises what S3 and SQS
        do: all are to come again."""
        rows: dict[str, list[Row]] = {}
        for raw in records:
            try:
                found = decode_record(raw)
            except BadRequestError as error:
                self.bury(DeadLetter.of(raw, error, path=error.path, now=now, stream=DECISIONS))
                continue
            rows.setdefault(found.tenant, []).append(row_of(found))
        for tenant, found_rows in rows.items():
            self.archive.write(tenant, {"decisions": found_rows}, source=source)


@functools.cache
def recorder() -> DecisionRecorder:
    """The recorder of this process, on the bucket and queue of its environment."""
    import boto3

    return DecisionRecorder(
        archive=Archive(os.environ["NEXTBEST_BUCKET"], s3=boto3.client("s3")),
        bury=grave(os.environ["NEXTBEST_DEAD_LETTERS"], sqs=boto3.client("sqs")),
    )


def handler(event: dict[str, Any], context: Any) -> None:
    """Record a batch of a Kinesis or an SQS event source mapping."""
    found = [_read(record) for record in event["Records"]]
    recorder().record([raw for _, raw in found], now=datetime.now(UTC), source=found[0][0])


def _read(record: dict[str, Any]) -> tuple[str, bytes]:
    """Where a record is from, and its bytes."""
    if "kinesis" in record:
        return str(record["eventID"]).split(":")[0], base64.b64decode(record["kinesis"]["data"])
    return str(record["eventSourceARN"]).split(":")[-1], record["body"].encode()
