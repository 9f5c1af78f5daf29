"""The stage's stream of events, as a producer sees it. Runs in a Lambda, and on a laptop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

MAX_RECORD_BYTES = 1_000_000  # Kinesis takes 1 MiB, the key included
_RECORDS_A_CALL, _BYTES_A_CALL = 500, 4_500_000
_ATTEMPTS = 6


@dataclass(frozen=True)
class EventStream:
    """`kinesis` is a boto3 client. What Kinesis throttles is put again, later and later."""

    name: str
    kinesis: Any
    sleep: Callable[[float], None] = time.sleep

    def put(self, records: Sequence[bytes]) -> list[int]:
        """Put records as they are; the places, in order, of those the stream did not take."""
        return [place for batch in _batches(records) for place in self._put(records, batch)]

    def _put(self, records: Sequence[bytes], places: list[int]) -> list[int]:
        for attempt in range(_ATTEMPTS):
            if attempt:
                self.sleep(0.05 * 2**attempt)
            answer = self.kinesis.put_records(
                StreamName=self.name, Records=[_entry(records[place]) for place in places]
            )
            results = zip(places, answer["Records"], strict=True)
            places = [place for place, result in results if "ErrorCode" in result]
            if not places:
                break
        return places


def _batches(records: Sequence[bytes]) -> Iterator[list[int]]:
    """Places of records that fit one call."""
    batch: list[int] = []
    size = 0
    for place, record in enumerate(records):
        if batch and (len(batch) == _RECORDS_A_CALL or size + len(record) > _BYTES_A_CALL):
            yield batch
            batch, size = [], 0
        batch.append(place)
        size += len(record)
    if batch:
        yield batch


def _entry(record: bytes) -> dict[str, Any]:
    return {"Data": record, "PartitionKey": _partition(record)}


def _partition(record: bytes) -> str:
    """A customer's events share a shard, and a product's; what is unreadable goes anywhere."""
    try:
        event = json.loads(record)
        whose = (event.get(name) for name in ("customer_id", "product_id", "decision_id"))
        return f"{event['tenant']}#{next(filter(None, whose))}"[:256]
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration):
        return "unreadable"
