"""Events of a stage: onto its stream, and those that could not be recorded.

Used by `nextbest events`. A dead letter is either a record with its error, from `record-events` or
`record-decisions`, or Lambda's own note of where on a stream a batch is that failed for good.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from inference.dead_letters import DECISIONS, EVENTS
from inference.errors import BadRequestError
from inference.event_contracts import decode_event
from inference.event_stream import EventStream
from pipelines import queues
from pipelines.errors import EventError
from pipelines.queues import HIDDEN_SECONDS, Message, messages, url_of
from pipelines.stage import Stage

_RECORDS_AT_ONCE = 1000


@dataclass(frozen=True)
class Refused:
    """A line that is no event: its number from 1, where, and what was expected."""

    line: int
    path: str
    message: str


@dataclass(frozen=True)
class DeadLetter:
    """What could not be recorded of a `stream`, events or decisions. `records` is empty for a batch
    that is only on the stream, which `batch` says where to find. `handle` removes it from the
    queue."""

    id: str
    at: str
    error: str
    path: str
    records: tuple[bytes, ...]
    batch: dict[str, Any] | None
    handle: str
    stream: str = EVENTS


def put(
    stage: Stage,
    lines: Iterable[bytes],
    *,
    tenants: Collection[str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[int, list[Refused]]:
    """Put the events among JSON lines on the stream; how many, and the lines that are none, or of
    none of the `tenants`: the stream takes every name, and nobody would find those again.

    Raises `EventError` where the stream goes on refusing.
    """
    refused: list[Refused] = []

    def good() -> Iterator[bytes]:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                _check_tenant(decode_event(line, now=datetime.now(UTC)).tenant, tenants)
            except BadRequestError as error:
                refused.append(Refused(number, error.path, str(error)))
                continue
            yield line.strip()

    return put_records(stage, good(), sleep=sleep), refused


def _check_tenant(tenant: str, known: Collection[str] | None) -> None:
    if known is not None and tenant not in known:
        names = ", ".join(sorted(known)) or "none"
        raise BadRequestError(f"there is no {tenant!r} (known: {names})", path="$.tenant")


def put_records(
    stage: Stage,
    records: Iterable[bytes],
    *,
    stream: str = EVENTS,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Put records on a stream as they are; what Kinesis throttles is put again. How many."""
    onto = EventStream(_name(stage, stream), stage.client("kinesis"), sleep)
    count, rest = 0, iter(records)
    while batch := list(islice(rest, _RECORDS_AT_ONCE)):
        refused = onto.put(batch)
        if refused:
            raise EventError(
                f"{onto.name} refused {len(refused)} records again and again; put them again "
                "later: those that landed are not counted twice"
            )
        count += len(batch)
    return count


def _name(stage: Stage, stream: str) -> str:
    return stage.decision_stream if stream == DECISIONS else stage.event_stream


def dead_letters(stage: Stage, *, hidden_seconds: int = HIDDEN_SECONDS) -> list[DeadLetter]:
    """All that wait in the queue, which hides them for so long from whoever asks next."""
    sqs = stage.client("sqs")
    waiting = messages(sqs, url_of(sqs, stage.dead_letters), hidden_seconds=hidden_seconds)
    found = {message["MessageId"]: letter_of(message) for message in waiting}
    return sorted(found.values(), key=lambda letter: letter.at)


def show_again(stage: Stage, letters: Iterable[DeadLetter]) -> None:
    """End the hiding of letters that stay in the queue."""
    sqs = stage.client("sqs")
    handles = (letter.handle for letter in letters)
    queues.show_again(sqs, url_of(sqs, stage.dead_letters), handles)


def replay(stage: Stage, letters: Iterable[DeadLetter]) -> int:
    """Put letters' records on their stream again, and only then remove the letters; how many.

    Raises `EventError` for a batch that the stream no longer keeps.
    """
    sqs, count = stage.client("sqs"), 0
    queue = url_of(sqs, stage.dead_letters)
    for letter in letters:
        records = letter.records or _on_stream(stage, letter)
        count += put_records(stage, records, stream=letter.stream)
        sqs.delete_message(QueueUrl=queue, ReceiptHandle=letter.handle)
    return count


def letter_of(message: Message) -> DeadLetter:
    """What a message of the queue tells."""
    body, handle = json.loads(message["Body"]), message["ReceiptHandle"]
    identity = message["MessageId"][:8]
    batch = body.get("KinesisBatchInfo")
    if batch is None:
        records = (base64.b64decode(body["record"]),)
        told = (body["at"], body["error"], body["path"])
        return DeadLetter(identity, *told, records, None, handle, body.get("stream", EVENTS))
    condition = body.get("requestContext", {}).get("condition", "failed")
    stream = DECISIONS if str(batch.get("streamArn", "")).endswith("-decisions") else EVENTS
    error = f"{condition}: {batch['batchSize']} records, see the log of record-{stream}"
    return DeadLetter(identity, body.get("timestamp", ""), error, "$", (), batch, handle, stream)


def _on_stream(stage: Stage, letter: DeadLetter) -> Iterator[bytes]:
    """What is on the shard from a batch's first record to its last. Where batches of a shard are
    recorded side by side, others' records stand in between: they land twice and count once."""
    batch, kinesis = letter.batch or {}, stage.client("kinesis")
    first, last = int(batch["startSequenceNumber"]), int(batch["endSequenceNumber"])
    iterator = kinesis.get_shard_iterator(
        StreamName=_name(stage, letter.stream),
        ShardId=batch["shardId"],
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        StartingSequenceNumber=batch["startSequenceNumber"],
    )["ShardIterator"]
    reached = None
    for record in _records(kinesis, iterator):
        number = int(record["SequenceNumber"])
        if number > last or (reached is None and number != first):
            break
        reached = number
        yield record["Data"]
        if reached == last:
            return
    raise EventError(
        f"the stream no longer keeps all of the batch of dead letter {letter.id} from {letter.at}; "
        "put its records again from their source"
    )


def _records(kinesis: Any, iterator: str | None) -> Iterator[dict[str, Any]]:
    """A shard's records from an iterator on, to its present end. A call gives what it likes of
    them, also nothing, and says how far behind that is."""
    while iterator:
        answer = kinesis.get_records(ShardIterator=iterator)
        yield from answer["Records"]
        if not answer["Records"] and not answer["MillisBehindLatest"]:
            return
        iterator = answer.get("NextShardIterator")
