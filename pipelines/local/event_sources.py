"""How ministack 1.5.33 brings a Kinesis stream to a Lambda, corrected to what AWS does.

There, a batch that fails comes again without end, whole; `BisectBatchOnFunctionError`,
`MaximumRetryAttempts`, `MaximumRecordAgeInSeconds`, `ReportBatchItemFailures` and the on-failure
destination are stored and not honoured; and one slow function holds up every other mapping.
Source: docs.aws.amazon.com/lambda, "Process records from Amazon Kinesis Data Streams".
"""

from __future__ import annotations

import base64
import json
import logging
import time
import uuid
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_FOR_EVER = -1
_PAUSE_SECONDS = 0.5
_log = logging.getLogger(__name__)


def retry_and_split_batches_of_kinesis() -> None:
    """A poison record blocks its shard for ever; see the module."""
    from ministack.services import lambda_svc

    lambda_svc._poll_kinesis = Poller().poll


Record = dict[str, Any]


@dataclass(frozen=True)
class Mapping:
    """An event source mapping that can be read: its record, function and stream."""

    settings: dict[str, Any]
    function: dict[str, Any]
    stream: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.settings["UUID"])

    @property
    def positions(self) -> dict[str, str]:
        """The sequence number of each shard's last record that is behind it, "" for none; ministack
        keeps them with its state. (Its own are places in lists that get shorter with time.)"""
        from ministack.services import lambda_svc

        known = lambda_svc._kinesis_positions
        if self.id not in known:
            oldest = self.settings.get("StartingPosition", "LATEST") == "TRIM_HORIZON"
            shards = self.stream["shards"].items()
            known[self.id] = {n: "" if oldest else _newest(s["records"]) for n, s in shards}
        found: dict[str, str] = known[self.id]
        return found


@dataclass(frozen=True)
class Piece:
    """Records of a shard that come together, and how often they failed."""

    records: list[Record]
    failures: int = 0

    def halves(self) -> list[Piece]:
        middle = len(self.records) // 2
        parts = (self.records[:middle], self.records[middle:])
        return [Piece(part, self.failures) for part in parts]


class Poller:
    """Delivers a shard's records in order, each shard on a thread of its own.

    What is left of a batch that failed waits in memory: after a restart it comes whole again.
    """

    def __init__(self) -> None:
        self._left: dict[tuple[str, str], list[Piece]] = {}
        self._not_before: dict[tuple[str, str], float] = {}

    def poll(self) -> bool:
        """Start what can be delivered now; whether there was anything."""
        from ministack.services import lambda_svc

        begun = False
        for mapping in _mappings():
            for shard in mapping.stream["shards"]:
                place = (mapping.id, shard)
                busy = lambda_svc._esm_inflight.get(":".join(place))
                if busy or self._not_before.get(place, 0.0) > time.monotonic():
                    continue
                piece = self._next(mapping, shard)
                if piece is not None:
                    lambda_svc._dispatch_esm_batch(
                        ":".join(place), self._deliver, mapping, shard, piece
                    )
                    begun = True
        return begun

    def _next(self, mapping: Mapping, shard: str) -> Piece | None:
        left = self._left.get((mapping.id, shard))
        if left:
            return left[0]
        after = mapping.positions.setdefault(shard, "")  # a shard of a split: from its start
        records = mapping.stream["shards"][shard]["records"]
        start = bisect_right(records, int(after or 0), key=_number) if records else 0
        found = records[start : start + int(mapping.settings.get("BatchSize", 100))]
        return Piece(found) if found else None

    def _deliver(self, mapping: Mapping, shard: str, piece: Piece) -> None:
        """Invoke the function with a piece, and note what is behind and what comes again."""
        handled = _handled(_invoked(mapping, shard, piece), mapping.settings, piece.records)
        why = self._after(mapping, shard, piece, handled)
        behind = len(piece.records) if why else handled
        if behind and _is_there(mapping):
            mapping.positions[shard] = str(piece.records[behind - 1]["SequenceNumber"])
        if why:
            left = Piece(piece.records[handled:], piece.failures + 1)
            _tell(mapping, shard, left, condition=why)

    def _after(self, mapping: Mapping, shard: str, piece: Piece, handled: int) -> str | None:
        """Queue what of a piece comes again; why it does not, where it is given up."""
        place, splits = (mapping.id, shard), mapping.settings.get("BisectBatchOnFunctionError")
        others = self._left.get(place, [])[1:]
        rest = Piece(piece.records[handled:], piece.failures + 1)
        why = _exhausted(mapping.settings, rest) if rest.records else None
        if splits and not handled and len(rest.records) > 1:
            why, again = None, piece.halves()  # which counts as no retry
        else:
            again = [rest] if rest.records and not why else []
            self._not_before[place] = time.monotonic() + _PAUSE_SECONDS * len(again)
        self._left[place] = again + others
        said = "PROBLEM: Function call failed" if rest.records else f"OK - {handled} records"
        mapping.settings["LastProcessingResult"] = said
        return why


def _number(record: Record) -> int:
    return int(record["SequenceNumber"])


def _newest(records: list[Record]) -> str:
    return str(records[-1]["SequenceNumber"]) if records else ""


def _is_there(mapping: Mapping) -> bool:
    """Whether the mapping has not been deleted meanwhile."""
    from ministack.services import lambda_svc

    return lambda_svc._esms.get(mapping.id) is not None


def _invoked(mapping: Mapping, shard: str, piece: Piece) -> dict[str, Any]:
    """What the function answered; nothing where the mapping's filter leaves it no record."""
    from ministack.services import lambda_svc

    source = mapping.settings["EventSourceArn"]
    records = [_as_event(record, shard, source) for record in piece.records]
    wanted = lambda_svc._apply_filter_criteria(records, mapping.settings)
    if not wanted:
        return {}
    return dict(lambda_svc._execute_function(mapping.function, {"Records": wanted}))


def _mappings() -> Iterator[Mapping]:
    """The mappings of Kinesis streams, each within its account and region."""
    from ministack.core.responses import request_scope
    from ministack.services import lambda_svc

    for account, region, settings in lambda_svc._iter_all_esms():
        with request_scope(account, region):
            found = _mapping(settings, region)
            if found is not None:
                yield found


def _mapping(settings: dict[str, Any], region: str) -> Mapping | None:
    from ministack.core.arn import parse_arn
    from ministack.services import kinesis, lambda_svc

    arn = settings.get("EventSourceArn", "")
    if ":kinesis:" not in arn or str(settings.get("Enabled", True)).lower() == "false":
        return None
    source = parse_arn(arn)
    name = lambda_svc._kinesis_stream_name_from_arn_spec(source)
    stream = kinesis._streams.get_scoped(source.account_id, source.region, name)
    function, _ = lambda_svc._get_func_record_for_qualifier(
        settings["FunctionName"], settings.get("Qualifier")
    )
    readable = stream and stream["StreamStatus"] == "ACTIVE" and stream["StreamARN"] == arn
    if not readable or function is None or source.region != region:
        return None
    return Mapping(settings, function, stream)


def _as_event(record: Record, shard: str, source: str) -> dict[str, Any]:
    """A record of the stream as the function gets it."""
    data, number = record["Data"], record["SequenceNumber"]
    encoded = base64.b64encode(data).decode() if isinstance(data, bytes) else str(data)
    return {
        "kinesis": {
            "kinesisSchemaVersion": "1.0",
            "partitionKey": record["PartitionKey"],
            "sequenceNumber": number,
            "data": encoded,
            "approximateArrivalTimestamp": record["ApproximateArrivalTimestamp"],
        },
        "eventSource": "aws:kinesis",
        "eventVersion": "1.0",
        "eventID": f"{shard}:{number}",
        "eventName": "aws:kinesis:record",
        "awsRegion": source.split(":")[3],
        "eventSourceARN": source,
    }


def _handled(result: dict[str, Any], settings: dict[str, Any], records: list[Record]) -> int:
    """How many records from the first are behind, by what the function answered."""
    if result.get("error"):
        return 0
    if "ReportBatchItemFailures" not in (settings.get("FunctionResponseTypes") or []):
        return len(records)
    body = result.get("body")
    answer = json.loads(body) if isinstance(body, str) and body else body
    failures = (answer or {}).get("batchItemFailures") or []
    numbers = [record["SequenceNumber"] for record in records]
    named = [failure.get("itemIdentifier") for failure in failures]
    # A name that is none of the batch's fails all of it.
    return min((numbers.index(n) if n in numbers else 0 for n in named), default=len(records))


def _exhausted(settings: dict[str, Any], piece: Piece) -> str | None:
    """Why a piece does not come again; None where it does."""
    retries = int(settings.get("MaximumRetryAttempts", _FOR_EVER))
    age = int(settings.get("MaximumRecordAgeInSeconds", _FOR_EVER))
    if retries != _FOR_EVER and piece.failures > retries:
        return "RetryAttemptsExhausted"
    if age != _FOR_EVER and time.time() - piece.records[0]["ApproximateArrivalTimestamp"] > age:
        return "MaxRecordAgeExceeded"
    return None


def _tell(mapping: Mapping, shard: str, piece: Piece, *, condition: str) -> None:
    """Send the on-failure destination, if it is a queue, where on the stream the records are."""
    from ministack.services import sqs

    destinations = mapping.settings.get("DestinationConfig") or {}
    target = (destinations.get("OnFailure") or {}).get("Destination", "")
    _log.warning("%s: %s: %d records left behind", mapping.id, condition, len(piece.records))
    if ":sqs:" not in target:
        return
    url = sqs._queue_url(target.rsplit(":", 1)[1])
    note = json.dumps(_note(mapping, shard, piece, condition=condition))
    sqs._act_send_message({"QueueUrl": url, "MessageBody": note}, url)


def _note(mapping: Mapping, shard: str, piece: Piece, *, condition: str) -> dict[str, Any]:
    first, last = piece.records[0], piece.records[-1]
    return {
        "requestContext": {
            "requestId": str(uuid.uuid4()),
            "functionArn": mapping.settings["FunctionArn"],
            "condition": condition,
            "approximateInvokeCount": piece.failures,
        },
        "responseContext": {
            "statusCode": 200,
            "executedVersion": "$LATEST",
            "functionError": "Unhandled",
        },
        "version": "1.0",
        "timestamp": _iso(time.time()),
        "KinesisBatchInfo": {
            "shardId": shard,
            "startSequenceNumber": first["SequenceNumber"],
            "endSequenceNumber": last["SequenceNumber"],
            "approximateArrivalOfFirstRecord": _iso(first["ApproximateArrivalTimestamp"]),
            "approximateArrivalOfLastRecord": _iso(last["ApproximateArrivalTimestamp"]),
            "batchSize": len(piece.records),
            "streamArn": mapping.settings["EventSourceArn"],
        },
    }


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, tz=UTC).isoformat(timespec="milliseconds")
