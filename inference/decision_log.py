"""The decision log: every decision onto the stage's stream, or the queue, or kept until one of them
is back. Runs in the decision Lambdas, after the answer is made and before it goes out.

The stream has one attempt of `TIMEOUT_SECONDS`; what it does not take goes to the queue
`unsent-decisions`, which `record-decisions` consumes as well. A service that failed rests for
`REST_SECONDS`: while it is down, few answers wait for it. What neither takes is kept on disk, where
a process that comes after this one finds it, and goes with the next decision. A record may be sent
twice: readers deduplicate by `decision_id`.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import msgspec

from inference.dead_letters import message_body
from inference.decision_records import DecisionRecord, encode_record
from inference.errors import NextbestError

TIMEOUT_SECONDS = 0.3
REST_SECONDS = 5.0
KEPT_A_CALL = 20
_KEPT_BYTES_A_CALL = 3 * 2**20  # a call of Kinesis takes 5 MB
Carry = Callable[[Sequence[bytes]], list[bytes]]
Warn = Callable[[dict[str, Any]], None]


class CarrierError(NextbestError):
    """The stream or the queue did not take decisions; they are kept."""


class RefusedError(CarrierError):
    """It answered, and refused what it was given."""


class TakesDecisions(Protocol):
    """What a service hands its decisions to."""

    def put(self, record: DecisionRecord) -> bool:
        """Whether the decision is safe elsewhere; where not, it waits here."""


def print_warning(line: dict[str, Any]) -> None:
    """A JSON line of the function's log."""
    print(msgspec.json.encode({"level": "WARNING", **line}).decode(), flush=True)


@dataclass
class Carrier:
    """A way out for records. `carry` gives back those that were not taken, or raises
    `CarrierError`: then the carrier rests."""

    name: str
    carry: Carry
    clock: Callable[[], float] = time.monotonic
    warn: Warn = print_warning
    _rests_until: float = field(default=float("-inf"), init=False)

    def take(self, lines: Sequence[bytes]) -> list[bytes]:
        """Those that were not taken."""
        if not lines or self.clock() < self._rests_until:
            return list(lines)
        try:
            return self.carry(lines)
        except CarrierError as error:
            self._rests_until = self.clock() + REST_SECONDS
            self.warn({"message": f"decisions: no {self.name}", "error": str(error)})
            return list(lines)


class Kept:
    """Records that nothing took: a file each, in a folder that the processes of a function share.

    Any of them sends what any left there. Where the disk does not take a record either, it is kept
    in this process.
    """

    def __init__(self, folder: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        self._folder, self._clock = folder, clock
        self._held: dict[str, bytes] = {}

    def add(self, line: bytes) -> None:
        name = f"{self._clock():020d}-{hashlib.sha256(line).hexdigest()[:16]}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            partial = self._folder / f".{name}"
            partial.write_bytes(line)
            partial.rename(self._folder / name)
        except OSError:
            self._held[name] = line

    def oldest(self) -> dict[str, bytes]:
        """Some, by name, the oldest first; as many as go along with one decision."""
        found: dict[str, bytes] = {}
        size = 0
        for name in sorted({*self._held, *self._names()})[:KEPT_A_CALL]:
            line = self._read(name)
            size += len(line)
            if found and size > _KEPT_BYTES_A_CALL:
                break
            if line:
                found[name] = line
        return found

    def remove(self, names: Iterable[str]) -> None:
        for name in names:
            if self._held.pop(name, None) is None:
                (self._folder / name).unlink(missing_ok=True)

    def _names(self) -> list[str]:
        try:
            return [name for name in os.listdir(self._folder) if not name.startswith(".")]
        except (FileNotFoundError, NotADirectoryError):
            return []

    def _read(self, name: str) -> bytes:
        """A record; empty where another process has just sent it."""
        if name in self._held:
            return self._held[name]
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            return b""


@dataclass(frozen=True)
class DecisionLog:
    """The carriers in the order they are tried, and what waits for them."""

    carriers: Sequence[Carrier]
    kept: Kept

    def put(self, record: DecisionRecord) -> bool:
        """Hand a decision over, and what waits with it. False where it now waits too."""
        line, waiting = encode_record(record), self.kept.oldest()
        left: list[bytes] = [*waiting.values(), line]
        for carrier in self.carriers:
            left = carrier.take(left)
        self.kept.remove(name for name, kept in waiting.items() if kept not in left)
        if line not in left:
            return True
        self.kept.add(line)
        return False


def to_stream(kinesis: Any, stream: str) -> Carry:
    """Onto a Kinesis stream, in one call."""

    def carry(lines: Sequence[bytes]) -> list[bytes]:
        entries = [{"Data": line, "PartitionKey": _key(line)} for line in lines]
        results = _called(kinesis.put_records, StreamName=stream, Records=entries)["Records"]
        return [line for line, told in zip(lines, results, strict=True) if told.get("ErrorCode")]

    return carry


def to_queue(sqs: Callable[[], Any], name: str) -> Carry:
    """To an SQS queue, a call a record: one that is refused holds up no other. The client is made
    when it is first needed."""
    urls: list[str] = []

    def carry(lines: Sequence[bytes]) -> list[bytes]:
        client, refused = sqs(), []
        if not urls:
            urls.append(_called(client.get_queue_url, QueueName=name)["QueueUrl"])
        for line in lines:
            try:
                _called(client.send_message, QueueUrl=urls[0], MessageBody=message_body(line))
            except RefusedError:
                refused.append(line)
        if len(refused) == len(lines):
            raise RefusedError(f"{name} refused all of {len(lines)} decisions")
        return refused

    return carry


def _key(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()[:32]


def _called(operation: Callable[..., dict[str, Any]], **parameters: Any) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return operation(**parameters)
    except ClientError as error:
        raise RefusedError(str(error)) from error
    except BotoCoreError as error:
        raise CarrierError(str(error)) from error


def open_decision_log(environment: Mapping[str, str] = os.environ) -> DecisionLog | None:
    """The log of this process, by `NEXTBEST_DECISIONS` (the stream) and `NEXTBEST_UNSENT_DECISIONS`
    (the queue); None where decisions are not logged."""
    stream = environment.get("NEXTBEST_DECISIONS")
    if not stream:
        return None
    sqs = functools.cache(lambda: _client("sqs"))
    function = environment.get("AWS_LAMBDA_FUNCTION_NAME", "function")
    return DecisionLog(
        carriers=[
            Carrier("stream", to_stream(_client("kinesis"), stream)),
            Carrier("queue", to_queue(sqs, environment["NEXTBEST_UNSENT_DECISIONS"])),
        ],
        kept=Kept(Path(tempfile.gettempdir()) / f"unsent-decisions-{function}"),
    )


def _client(service: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.client(
        service,
        config=Config(
            connect_timeout=TIMEOUT_SECONDS,
            read_timeout=TIMEOUT_SECONDS,
            retries={"mode": "standard", "total_max_attempts": 1},
        ),
    )
