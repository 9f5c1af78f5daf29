"""What a tenant holds on one customer: the profile, and rows of the archive and of data sets.

Used by `nextbest customers show` and `export`. Finding somebody reads every table there is; nothing
is indexed by customer but the profiles.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import parquet as files

from inference.dynamo_profiles import DynamoProfiles
from inference.profiles import Stored
from pipelines import events, suppressions
from pipelines.erased_objects import listed
from pipelines.errors import CustomerError
from pipelines.pointers import newest_dataset
from pipelines.stage import KINDS, Stage, check_tenant

_THREADS = 8  # an archive is many small objects
_ARCHIVE = ("decisions", "events")
Progress = Callable[[str, int, int], None]  # what, how many of how many


@dataclass(frozen=True)
class Held:
    """Rows on a customer, and where they are: an object's key, or a queue."""

    source: str
    table: str
    rows: list[dict[str, Any]]


def read_profile(stage: Stage, tenant: str, customer_id: str) -> Stored:
    """What is known online; an empty profile of revision 0 where nothing is.

    Raises `ProfileStoreError`."""
    table, client = stage.profiles_table, stage.client("dynamodb")
    return DynamoProfiles(table, check_tenant(tenant), client=client).read(customer_id)


def plain_profile(stored: Stored) -> dict[str, Any]:
    """A profile as plain JSON, remembered answers as they were given."""
    found: dict[str, Any] = msgspec.to_builtins(stored)
    for decision_id, answer in stored.answers.items():
        found["answers"][decision_id]["response"] = json.loads(answer.response)
    return found


def export(
    stage: Stage,
    tenant: str,
    customer_id: str,
    *,
    now: datetime,
    every_dataset: bool = False,
    progress: Progress,
) -> dict[str, Any]:
    """All that the tenant holds on a customer as one JSON document, with where each part is.

    Of data sets the newest, which training reads, unless every one is wanted. Raises
    `CustomerError` for a table that cannot be read: an export that leaves something out is none.
    """
    stored = read_profile(stage, tenant, customer_id)
    erased_at = suppressions.read(stage, tenant).erased_at(customer_id)
    held = [*_letters(stage, tenant, customer_id)]
    held += _rows(stage, tenant, customer_id, every_dataset=every_dataset, progress=progress)
    return {
        "tenant": tenant,
        "customer_id": customer_id,
        "exported_at": now.isoformat(),
        "erased_at": erased_at.isoformat() if erased_at else None,
        "profile": {"from": stage.profiles_table, **plain_profile(stored)}
        if stored.revision
        else None,
        "held": [{"from": h.source, "table": h.table, "rows": h.rows} for h in held],
    }


def _rows(
    stage: Stage, tenant: str, customer_id: str, *, every_dataset: bool, progress: Progress
) -> list[Held]:
    s3, prefix = stage.client("s3"), f"{stage.tenant_prefix(tenant)}/"
    keys = [found.key for found in listed(s3, stage.bucket, prefix)]
    wanted = _wanted(stage, tenant, keys, every_dataset=every_dataset)
    reader, held = _Reader(s3, stage.bucket, customer_id), list[Held]()
    for number, (folder, inside) in enumerate(wanted):
        progress(folder.removeprefix(prefix), number, len(wanted))
        held += reader.folder(inside)
    return held


def _wanted(
    stage: Stage, tenant: str, keys: Iterable[str], *, every_dataset: bool
) -> list[tuple[str, list[str]]]:
    """The tables to read, by folder. Decisions come first: a reward may name one of them and no
    customer."""
    prefix, newest = f"{stage.tenant_prefix(tenant)}/", set[str]()
    for kind in KINDS:
        if pointer := newest_dataset(stage, tenant, kind=kind):
            newest.add(pointer["prefix"])
    folders: dict[str, list[str]] = {}
    for key in keys:
        folder, _, name = key.rpartition("/")
        area = key.removeprefix(prefix).partition("/")[0]
        if name.endswith(".parquet") and (every_dataset or area in _ARCHIVE or folder in newest):
            folders.setdefault(folder, []).append(key)
    return sorted(folders.items(), key=lambda item: (f"{prefix}decisions" not in item[0], item[0]))


class _Reader:
    """Finds a customer's rows, and those of nobody that name a decision found before."""

    def __init__(self, s3: Any, bucket: str, customer_id: str) -> None:
        self._s3, self._bucket, self._customer = s3, bucket, customer_id
        self._decisions: set[str] = set()

    def folder(self, keys: list[str]) -> list[Held]:
        """What is found in the objects of a folder. Raises `CustomerError`."""
        with tempfile.TemporaryDirectory(prefix="nextbest-export-") as name:
            work = Path(name)
            with ThreadPoolExecutor(_THREADS) as pool:
                held = [
                    found for found in pool.map(lambda k: self._read(k, work), keys) if found.rows
                ]
        named = (row.get("decision_id") for found in held for row in found.rows)
        self._decisions |= {str(decision) for decision in named if decision}
        return held

    def _read(self, key: str, work: Path) -> Held:
        """One object; tables of the archive are called after their folder, others their file."""
        path, parts = work / key.rpartition("/")[2], key.split("/")
        self._s3.download_file(self._bucket, key, str(path))
        table = parts[-3] if parts[-2].startswith("day=") else path.stem
        try:
            return Held(f"s3://{self._bucket}/{key}", table, [*self._rows(path)])
        except pa.ArrowException as error:
            raise CustomerError(
                f"{key} cannot be read: {error}; the export would be incomplete. Restore or "
                "delete it"
            ) from error

    def _rows(self, path: Path) -> Iterator[dict[str, Any]]:
        with files.ParquetFile(path) as file:
            if "customer_id" not in file.schema_arrow.names:
                return
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                yield from table.filter(self._mask(table)).to_pylist()

    def _mask(self, table: pa.Table) -> Any:
        owners = table["customer_id"]
        mask = pc.fill_null(pc.equal(owners, self._customer), False)
        if not self._decisions or "decision_id" not in table.column_names:
            return mask
        known = pa.array(sorted(self._decisions), table["decision_id"].type)
        named = pc.is_in(table["decision_id"], known)
        return pc.or_(mask, pc.and_(pc.is_null(owners), named))


def _letters(stage: Stage, tenant: str, customer_id: str) -> Iterator[Held]:
    """Events of the customer that could not be recorded."""
    letters = events.dead_letters(stage)
    events.show_again(stage, letters)
    rows = [
        {"at": letter.at, "error": letter.error, "record": record.decode(errors="replace")}
        for letter in letters
        for record in letter.records
        if _is_of(record, tenant, customer_id)
    ]
    if rows:
        yield Held(stage.dead_letters, "dead letters", rows)


def _is_of(record: bytes, tenant: str, customer_id: str) -> bool:
    try:
        found = json.loads(record)
    except ValueError:
        return False
    names = (found.get("tenant"), found.get("customer_id")) if isinstance(found, dict) else ()
    return names == (tenant, customer_id)
