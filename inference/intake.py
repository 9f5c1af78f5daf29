"""Events of one tenant that come by its API, onto the stage's stream. Runs in a Lambda.

A request is one event, or several as `{"events": [...]}`: the contracts of `event_contracts`,
less the tenant, which is whose API it is. The good ones are taken whatever the others are. An event
without an `event_id` is called after what it holds, so that sending it again is the same event.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from inference.decoding import converted, error_answer
from inference.errors import BadRequestError, NextbestError
from inference.event_contracts import decode_event
from inference.event_stream import MAX_RECORD_BYTES, EventStream

MAX_EVENTS = 500
_HASHED = "-"


class EventsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Several events at once; one event alone is a request too."""

    events: Annotated[list[Any], Meta(min_length=1, max_length=MAX_EVENTS)]


class Rejection(msgspec.Struct, frozen=True):
    """An event that was not taken: its place in the request from 0, where in it, and why.
    `StreamError` is no fault of the event: send it again."""

    index: int
    code: str
    path: str
    message: str


class EventsResponse(msgspec.Struct, frozen=True):
    """How many were taken, under which ids (null for those that were not), and the others."""

    accepted: int
    event_ids: list[str | None]
    rejected: list[Rejection]


class StreamError(NextbestError):
    """The stream did not take an event, though it is good."""


_decoder = msgspec.json.Decoder(EventsRequest)
_REFUSED = "the stream did not take it; send it again"


@dataclass(frozen=True)
class Intake:
    """The tenant, and the stream that its events go on."""

    tenant: str
    stream: EventStream

    def answer(self, payload: Any, *, now: datetime) -> dict[str, Any]:
        """The answer to a request, good or bad; with an `error` where nothing was taken."""
        try:
            events = _events(payload)
        except BadRequestError as error:
            return error_answer(error)
        response = self.take(events, now=now)
        found = dict(msgspec.to_builtins(response))
        if not response.accepted:
            found["error"] = _error(response.rejected[0], alone=len(events) == 1)
        return found

    def take(self, events: list[Any], *, now: datetime) -> EventsResponse:
        """Put the good ones of events on the stream."""
        records: dict[int, bytes] = {}
        ids: list[str | None] = [None] * len(events)
        rejected = []
        for index, event in enumerate(events):
            try:
                ids[index], records[index] = self._record(event, now=now)
            except BadRequestError as error:
                rejected.append(Rejection(index, type(error).__name__, error.path, str(error)))
        places = list(records)
        for refused in self._put([records[place] for place in places]):
            ids[places[refused]] = None
            rejected.append(Rejection(places[refused], StreamError.__name__, "$", _REFUSED))
        accepted = len(events) - len(rejected)
        return EventsResponse(accepted, ids, sorted(rejected, key=lambda found: found.index))

    def _put(self, records: list[bytes]) -> list[int]:
        """The places of what the stream did not take; all, where it does not answer."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return self.stream.put(records)
        except (BotoCoreError, ClientError):
            return list(range(len(records)))

    def _record(self, event: Any, *, now: datetime) -> tuple[str, bytes]:
        """An event's id, and the record for the stream. Raises `BadRequestError`."""
        if not isinstance(event, dict):
            raise BadRequestError("expected an event, as an object")
        if event.get("tenant", self.tenant) != self.tenant:
            raise BadRequestError(
                f"this is the API of {self.tenant!r}; leave the tenant out", path="$.tenant"
            )
        given = {"event_id": _HASHED, **event, "tenant": self.tenant}
        found = decode_event(given, now=now)
        record = msgspec.json.encode(found, order="deterministic")
        if "event_id" not in event:
            found = msgspec.structs.replace(found, event_id=hashlib.sha256(record).hexdigest())
            record = msgspec.json.encode(found, order="deterministic")
        if len(record) > MAX_RECORD_BYTES:
            raise BadRequestError(
                f"an event of {len(record):,} bytes; at most {MAX_RECORD_BYTES:,}"
            )
        return found.event_id, record


def _events(payload: Any) -> list[Any]:
    """The events of a request in JSON or plain values. Raises `BadRequestError`."""
    plain = payload
    if isinstance(payload, bytes | str):
        try:
            plain = msgspec.json.decode(payload)
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise BadRequestError(f"the request is not valid JSON: {error}") from error
    if isinstance(plain, dict) and "events" not in plain:
        return [plain]
    return converted(plain, _decoder).events


def _error(first: Rejection, *, alone: bool) -> dict[str, Any]:
    """What stands for all where nothing was taken: the first, with its place in the request."""
    path = first.path if alone else f"$.events[{first.index}]{first.path[1:]}"
    status = 503 if first.code == StreamError.__name__ else 400
    return {"status": status, "code": first.code, "path": path, "message": first.message}
