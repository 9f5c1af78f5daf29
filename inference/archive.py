"""The archive: events and decisions as compressed Parquet, by tenant, table and day.

    tenants/<tenant>/events/<table>/day=YYYY-MM-DD/<digest>.parquet
    tenants/<tenant>/decisions/day=YYYY-MM-DD/<digest>.parquet

The day is the UTC day of a row's own time: a late event makes a new object of an old day. An object
is called after what it was written with, so that a batch that is retried overwrites itself; its
bytes change only when a customer in it is erased. A row may still be in two objects, and an event
in two rows: readers deduplicate by the table's identity (`inference.archive_tables`). An object is
of one table's schema, columns that nobody filled included. What comes late of who was erased is not
written.

Runs in the Lambdas that consume the streams; pyarrow is imported at the first write, so that
nobody else has to have it.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Protocol

import msgspec

from inference.archive_tables import TABLES, ArchiveTable
from inference.errors import NextbestError
from inference.suppression import Suppression
from inference.suppression_store import read_stored

LIST_SECONDS = 2.0  # an erasure waits longer than that for writes that asked before it
Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]  # rows by table
_DECISIONS = "decisions"


class ArchiveError(NextbestError):
    """Rows that do not fit the table they are for; says table, row, column and value."""


class ErasedMeanwhileError(NextbestError):
    """Somebody was erased while a batch was written; the batch is to come again."""


def folder_of(tenant: str, table: str) -> str:
    """The prefix of a table's objects, without the day. Raises `ArchiveError` for no table."""
    _table(table)
    if table == _DECISIONS:
        return f"tenants/{tenant}/{_DECISIONS}"
    return f"tenants/{tenant}/events/{table}"


class KeepsRows(Protocol):
    """Where rows are kept: the archive, or what stands for it in a test."""

    def write(self, tenant: str, tables: Tables, *, source: str) -> list[str]: ...


@dataclass
class Archive:
    """`s3` is a boto3 client."""

    bucket: str
    s3: Any = field(kw_only=True)
    clock: Callable[[], float] = field(default=time.monotonic, kw_only=True)

    def write(self, tenant: str, tables: Tables, *, source: str) -> list[str]:
        """Write a batch's rows by table, an object for each day of their times; the keys, in the
        tables' and the days' order.

        The order of rows does not matter. `source` says where they came from (a shard, a queue)
        and is kept as the object's metadata. Raises `ArchiveError` before anything is written, and
        where the tenant's list of who was erased cannot be read, what that does; and
        `ErasedMeanwhileError`.
        """
        asked_at, suppression = self.clock(), self._suppression(tenant)
        objects: dict[str, bytes] = {}
        for table, rows in tables.items():
            objects |= _objects(tenant, table, rows, suppression)
        for key, content in objects.items():
            if self.clock() - asked_at > LIST_SECONDS:
                asked_at = self.clock()
                if self._suppression(tenant) != suppression:
                    raise ErasedMeanwhileError(f"{tenant}: somebody was erased; it comes again")
            metadata = {"source": source}
            self.s3.put_object(Bucket=self.bucket, Key=key, Body=content, Metadata=metadata)
        return list(objects)

    def _suppression(self, tenant: str) -> Suppression:
        return read_stored(self.s3, self.bucket, tenant)[0]


def _objects(
    tenant: str, table: str, rows: Sequence[Row], suppression: Suppression
) -> dict[str, bytes]:
    """A table's objects by key, without who was erased."""
    folder, days = folder_of(tenant, table), _by_day(rows, table=table)
    return {
        f"{folder}/day={day}/{_digest(kept)}.parquet": parquet(kept, table=table)
        for day, found in sorted(days.items())
        if (kept := _without_erased(found, suppression, table=table))
    }


def parquet(rows: Sequence[Row], *, table: str) -> bytes:
    """Rows as zstd Parquet with the table's schema. Raises `ArchiveError`."""
    import pyarrow as pa
    from pyarrow import parquet as files

    try:
        content = pa.Table.from_pylist([dict(row) for row in rows], schema=_schema(table))
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ArchiveError(f"{table}: a value does not fit its column: {error}") from error
    sink = io.BytesIO()
    files.write_table(content, sink, compression="zstd")
    return sink.getvalue()


def _table(name: str) -> ArchiveTable:
    if name not in TABLES:
        raise ArchiveError(f"{name!r} is no table of the archive; expected {', '.join(TABLES)}")
    return TABLES[name]


def _schema(name: str) -> Any:
    import pyarrow as pa

    kinds = {
        "text": pa.string(),
        "number": pa.float64(),
        "flag": pa.bool_(),
        "time": pa.timestamp("us", tz="UTC"),
    }

    def kind_of(kind: str | Mapping[str, str]) -> Any:
        if isinstance(kind, str):
            return kinds[kind]
        return pa.list_(pa.struct([(column, kinds[inner]) for column, inner in kind.items()]))

    return pa.schema([(column, kind_of(kind)) for column, kind in _table(name).columns.items()])


def _by_day(rows: Sequence[Row], *, table: str) -> dict[date, list[Row]]:
    """Rows by the UTC day of their time, each day's in an order of their own."""
    days: dict[date, list[Row]] = {}
    for number, row in enumerate(rows):
        days.setdefault(_day(row, number, table=table), []).append(row)
    return {day: sorted(found, key=_bytes) for day, found in days.items()}


def _without_erased(rows: list[Row], suppression: Suppression, *, table: str) -> list[Row]:
    time = _table(table).time
    return [
        row
        for row in rows
        if not (customer := row.get("customer_id"))
        or not suppression.suppresses(customer, row[time])
    ]


def _day(row: Row, number: int, *, table: str) -> date:
    """The day a row belongs to. Raises `ArchiveError` for a row that is not of the table."""
    kind = _table(table)
    where = f"{table}: row {number}"
    for column, wanted in kind.columns.items():
        unknown = _unknown_inner(row.get(column), wanted)
        if unknown:
            raise ArchiveError(f"{where}: {column} has no {', '.join(unknown)}")
    if unknown := sorted(set(row) - set(kind.columns)):
        raise ArchiveError(
            f"{where}: no column {', '.join(unknown)}; has {', '.join(kind.columns)}"
        )
    if not row.get(kind.identity):
        raise ArchiveError(
            f"{where}: expected an id as {kind.identity}, not {row.get(kind.identity)!r}"
        )
    time = row.get(kind.time)
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise ArchiveError(f"{where}: {kind.time} is {time!r}; expected a datetime with a zone")
    return time.astimezone(UTC).date()


def _unknown_inner(value: Any, wanted: str | Mapping[str, str]) -> list[str]:
    """Fields of a nested value that its column does not have; Arrow would drop them silently."""
    if isinstance(wanted, str):
        return []
    return sorted({name for inner in value or () for name in inner} - set(wanted))


def _bytes(row: Row) -> bytes:
    return msgspec.json.encode(row, order="deterministic")


def _digest(rows: Sequence[Row]) -> str:
    return hashlib.sha256(b"\n".join(map(_bytes, rows))).hexdigest()[:32]
