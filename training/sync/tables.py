"""The archived rows of a tenant: read once, deduplicated by identity, kept from sync to sync.

What is kept is the whole archive, compact: a file a table instead of one a batch. So a sync reads
only objects it has not read before, and yet makes its data sets of all rows, as if it had begun
anew: late objects, late rewards and events of products that were unknown all count.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyarrow import parquet as files

from inference.archive import parquet
from inference.archive_tables import SYNCED, TABLES

_IDS = ("customer_id", "product_id")


@dataclass(frozen=True)
class Archived:
    """`tables` by name, each row once, in order of identity. Of this reading: `rows` is how many
    there were a table, `fresh` the identities that were not known before, `unreadable` the objects
    that are no table of the archive, with the reason."""

    tables: dict[str, pd.DataFrame]
    rows: dict[str, int] = field(default_factory=dict)
    fresh: dict[str, pd.Index] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)


def read_archive(folder: Path, *, known: Mapping[str, pd.DataFrame]) -> Archived:
    """The objects below a folder, laid out as in the archive, joined with the rows `known`."""
    found: dict[str, list[pa.Table]] = {name: [] for name in SYNCED}
    unreadable = {}
    for path in sorted(folder.rglob("*.parquet")):
        table, why = _table_of(path), ""
        if table not in SYNCED:
            continue
        try:
            found[table].append(_read(path, table))
        except (pa.ArrowException, OSError, KeyError) as error:
            why = str(error).splitlines()[0]
            unreadable[str(path.relative_to(folder))] = f"{type(error).__name__}: {why}"
    tables, rows, fresh = {}, {}, {}
    for name, parts in found.items():
        new = pa.concat_tables(parts) if parts else _schema(name).empty_table()
        before = known.get(name, _empty(name))
        tables[name] = _distinct(name, before, new)
        identity = TABLES[name].identity
        rows[name] = new.num_rows
        fresh[name] = pd.Index(tables[name][identity]).difference(pd.Index(before[identity]))
    return Archived(tables, rows, fresh, unreadable)


def read_kept(folder: Path) -> dict[str, pd.DataFrame]:
    """What `write_kept` wrote; empty tables where there is nothing."""
    return {name: _kept(folder / f"{name}.parquet", name) for name in SYNCED}


def write_kept(tables: Mapping[str, pd.DataFrame], folder: Path) -> None:
    """A file a table; same rows, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in tables.items():
        table = pa.Table.from_pandas(frame, schema=_schema(name), preserve_index=False)
        files.write_table(table, folder / f"{name}.parquet", compression="zstd")


def _kept(path: Path, name: str) -> pd.DataFrame:
    return _pandas(_read(path, name)) if path.exists() else _empty(name)


def _empty(name: str) -> pd.DataFrame:
    return _pandas(_schema(name).empty_table())


def _pandas(table: pa.Table) -> pd.DataFrame:
    return table.to_pandas().reset_index(drop=True)


def _table_of(path: Path) -> str:
    """`…/<table>/day=…/<digest>.parquet`."""
    return path.parent.parent.name if path.parent.name.startswith("day=") else ""


def _schema(name: str) -> pa.Schema:
    return files.read_schema(io.BytesIO(parquet([], table=name))).remove_metadata()


def _read(path: Path, name: str) -> pa.Table:
    """A file with the table's columns; one that an earlier version did not have is empty."""
    table, schema = files.ParquetFile(path).read(), _schema(name)
    for required in (TABLES[name].identity, TABLES[name].time):
        if table.column(required).null_count:
            raise pa.ArrowInvalid(f"a row without {required}")
    absent = [column for column in schema if column.name not in table.column_names]
    for column in absent:
        table = table.append_column(column, pa.nulls(table.num_rows, column.type))
    return table.select(schema.names).cast(schema)


def _distinct(name: str, known: pd.DataFrame, new: pa.Table) -> pd.DataFrame:
    """Each identity once, in its order. Were two unlike rows to share one, the later wins, for an
    erasure in between takes the earlier one; of two at one time the same in any order."""
    kind = TABLES[name]
    both = pd.concat([known, _pandas(new)], ignore_index=True) if new.num_rows else known
    twice = both[both.duplicated(kind.identity, keep=False)]
    if len(twice):
        texts = [_text(row) for row in twice.to_dict("records")]
        ranked = twice.assign(_text=texts).sort_values([kind.identity, kind.time, "_text"])
        losers = ranked.index[ranked.duplicated(kind.identity, keep="last")]
        both = both.drop(index=losers)
    for column in {*_IDS} & set(both.columns):
        both[column] = both[column].str.strip()
    return both.sort_values(kind.identity, ignore_index=True)


def _text(row: Mapping[Any, Any]) -> str:
    return json.dumps({str(k): v for k, v in row.items()}, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    """What JSON does not know: lists that came as arrays, times, numpy's own numbers."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def row_counts(archived: Archived) -> dict[str, dict[str, int]]:
    """Of this reading, a table: rows, new ones, and what was there before."""
    return {
        name: {"read": rows, "new": len(archived.fresh[name]), "kept": len(archived.tables[name])}
        for name, rows in archived.rows.items()
    }
