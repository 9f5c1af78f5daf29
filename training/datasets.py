"""The canonical tables of a data set: reading, checking, setting aside, profiling.

Used by `nextbest data import` before anything is uploaded, and by `Prepare` in a job. Bad data is
refused (`DataQualityError`); single rows that can do no harm are set aside and counted.
All ids are strings, all times UTC (a time without a zone is taken as UTC).
"""

from __future__ import annotations

import difflib
import io
import json
import lzma
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from training.errors import DataQualityError, NotEnoughDataError

INTERACTIONS = ("customer_id", "product_id", "event", "timestamp")
OPTIONAL = ("value", "quantity", "session_id")
SUFFIXES = (".parquet", ".csv", ".csv.gz", ".csv.xz", ".csv.bz2")
_COMPRESSIONS: dict[str, Any] = {".gz": "gzip", ".xz": "xz", ".bz2": "bz2"}
MINIMUM_CUSTOMERS = 20
MINIMUM_PRODUCTS = 5
FUTURE_TOLERANCE = timedelta(days=1)
_EXAMPLES = 3
_EXACT_FLOAT = 2.0**53  # above it not every whole number has a float of its own
_MAP_IT = "If one of them is it, say --map {column}={theirs}"
_NO_TIME = "not a time; expected ISO 8601 or epoch seconds"
_EARLIEST = pd.Timestamp(0, tz="UTC")
_FIRST_EPOCH = 1e8  # seconds: 1973; a smaller number is a date like 20240101


@dataclass(frozen=True)
class Dataset:
    """Clean tables. `rejected` has a column `reason`; `profile` is plain JSON."""

    interactions: pd.DataFrame
    products: pd.DataFrame | None
    customers: pd.DataFrame | None
    rejected: pd.DataFrame
    profile: dict[str, Any]


def read_dataset(folder: Path) -> Dataset:
    """Read a canonical folder that `nextbest data import` wrote. Raises `DataQualityError`."""
    interactions = _required(folder, "interactions")
    require_columns(interactions, INTERACTIONS, table="interactions")
    profile_path = folder / "profile.json"
    return Dataset(
        interactions=interactions,
        products=_optional(folder, "products"),
        customers=_optional(folder, "customers"),
        rejected=pd.DataFrame(),
        profile=json.loads(profile_path.read_text()) if profile_path.exists() else {},
    )


def write_dataset(dataset: Dataset, folder: Path) -> list[Path]:
    """The canonical files that `read_dataset` reads; same content, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "interactions": dataset.interactions,
        "products": dataset.products,
        "customers": dataset.customers,
        "rejected": dataset.rejected if len(dataset.rejected) else None,
    }
    for name, table in tables.items():
        if table is not None:
            table.to_parquet(folder / f"{name}.parquet", index=False)
    (folder / "profile.json").write_text(json.dumps(dataset.profile, indent=1), encoding="utf-8")
    return sorted(folder.iterdir())


def find_table(folder: Path, table: str) -> Path | None:
    """The file of a table in a folder, whatever its suffix; None where there is none."""
    found = [path for suffix in SUFFIXES if (path := folder / f"{table}{suffix}").exists()]
    return found[0] if found else None


def _required(folder: Path, table: str) -> pd.DataFrame:
    path = find_table(folder, table)
    if path is None:
        raise DataQualityError(
            f"{folder}: no {table} table; expected {table}.parquet or {table}.csv"
        )
    return read_table(path)


def _optional(folder: Path, table: str) -> pd.DataFrame | None:
    path = find_table(folder, table)
    return read_table(path) if path else None


class _WatchedFile(io.RawIOBase):
    """A file that tells `progress` which share of its bytes has been read."""

    def __init__(self, path: Path, progress: Callable[[float], None]) -> None:
        self._file, self._progress = path.open("rb", buffering=0), progress
        self._done, self._size = 0, max(path.stat().st_size, 1)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self._done += count
        self._progress(self._done / self._size)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _ignore(share: float) -> None:
    """Nobody wants to know."""


def read_table(path: Path, *, progress: Callable[[float], None] = _ignore) -> pd.DataFrame:
    """A Parquet or CSV file (plain, gz, xz, bz2); CSV columns are strings, as they stand.

    `progress` is told the share read so far. Raises `DataQualityError` for a file that is empty,
    truncated, or not what its name says.
    """
    if path.name.endswith((".json", ".jsonl", ".xlsx", ".zip", ".txt", ".tsv")):
        raise DataQualityError(f"{path.name}: not a format we read; expected {', '.join(SUFFIXES)}")
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, progress)
    except pd.errors.EmptyDataError as error:
        raise DataQualityError(f"{path.name}: the file is empty") from error
    except (EOFError, lzma.LZMAError, zlib.error, OSError, pa.ArrowInvalid) as error:
        raise DataQualityError(f"{path.name}: broken or truncated file: {error}") from error
    except UnicodeDecodeError as error:
        raise DataQualityError(
            f"{path.name}: not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from error
    except pd.errors.ParserError as error:
        raise DataQualityError(f"{path.name}: not a table: {error}") from error
    if len(frame) == 0:
        raise DataQualityError(f"{path.name}: a header and no rows")
    if path.suffix != ".parquet" and not isinstance(frame.index, pd.RangeIndex):
        # pandas takes surplus leading fields for an index: every column would be another's.
        raise DataQualityError(f"{path.name}: the rows have more fields than the header")
    return frame


def _read_csv(path: Path, progress: Callable[[float], None]) -> pd.DataFrame:
    with io.BufferedReader(_WatchedFile(path, progress), 1 << 16) as file:
        return pd.read_csv(
            file,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            compression=_COMPRESSIONS.get(path.suffix),
        )


def require_columns(
    frame: pd.DataFrame, wanted: tuple[str, ...], *, table: str, advice: str = _MAP_IT
) -> None:
    """Raise `DataQualityError` for a missing column, naming the nearest one there is in `advice`
    on how to call it `{column}`."""
    for column in wanted:
        if column in frame.columns:
            continue
        names = [str(name) for name in frame.columns]
        if len(names) == 1 and (separators := set(";\t|") & set(names[0])):
            raise DataQualityError(
                f"{table}: the header is one column, {names[0]!r}; it seems to be divided by "
                f"{separators.pop()!r}. Save the file with commas"
            )
        near = difflib.get_close_matches(column, names, n=1, cutoff=0.4)
        theirs = near[0] if near else "THEIRS"
        raise DataQualityError(
            f"{table}: column {column!r} is missing; the file has {', '.join(names[:12])}. "
            + advice.format(column=column, theirs=theirs)
        )


def refuse(frame: pd.DataFrame, bad: pd.Series, *, table: str, column: str, rule: str) -> None:
    """Raise `DataQualityError` when any row is `bad`: table, column, rule, count, examples."""
    count = int(bad.sum())
    if not count:
        return
    rows = np.flatnonzero(bad.to_numpy())[:_EXAMPLES]
    given = frame[column].iloc[rows].tolist()  # 0.5, not np.float64(0.5)
    examples = "; ".join(f"row {row + 1}: {v!r}" for row, v in zip(rows, given, strict=True))
    raise DataQualityError(
        f"{table}.{column}: {rule}: {count:,} of {len(frame):,} rows, e.g. {examples}"
    )


def ids(frame: pd.DataFrame, column: str, *, table: str) -> pd.Series:
    """A column of ids as strings. Refuses empty ids, fractions and mixed types."""
    values = frame[column]
    if pd.api.types.is_float_dtype(values):
        fraction = values.notna() & (values % 1 != 0)
        refuse(frame, fraction, table=table, column=column, rule="an id is no fraction")
        refuse(frame, values.isna(), table=table, column=column, rule="empty id")
        rule = "too long for a number to hold exactly; make it text"
        refuse(frame, values.abs() > _EXACT_FLOAT, table=table, column=column, rule=rule)
        return values.astype("int64").astype(str)
    if values.dtype == object:
        kinds = {type(v).__name__ for v in values.head(100_000) if v is not None and v == v}
        odd = values.map(type) != (str if "str" in kinds else type(values.iloc[0]))
        if len(kinds) > 1:
            rule = f"mixed types {sorted(kinds)}; make them all text"
            refuse(frame, odd, table=table, column=column, rule=rule)
    text = values.astype(str).str.strip()
    refuse(frame, values.isna() | (text == ""), table=table, column=column, rule="empty id")
    return text


def times(frame: pd.DataFrame, column: str, *, table: str, now: datetime) -> pd.Series:
    """A column of times as UTC. Epoch seconds or milliseconds, or ISO 8601 text.

    Refuses what cannot be parsed, what lies in the future and what no shop can have recorded.
    """
    parsed = _parsed_times(frame[column])
    refuse(frame, parsed.isna(), table=table, column=column, rule=_NO_TIME)
    future = parsed > pd.Timestamp(now) + FUTURE_TOLERANCE
    refuse(frame, future, table=table, column=column, rule=f"in the future (now is {now:%F %T})")
    refuse(frame, parsed < _EARLIEST, table=table, column=column, rule="before 1970")
    return parsed.astype("datetime64[us, UTC]")


def optional_times(frame: pd.DataFrame, column: str, *, table: str) -> pd.Series:
    """The same where a time may be missing and may lie in the future, as of an offer."""
    values = frame[column]
    given = values.notna() & (values.astype(str).str.strip() != "")
    parsed = pd.Series(pd.NaT, index=frame.index, dtype="datetime64[us, UTC]")
    if given.any():
        parsed[given] = _parsed_times(values[given]).astype("datetime64[us, UTC]")
    refuse(frame, parsed.isna() & given, table=table, column=column, rule=_NO_TIME)
    return parsed


def _parsed_times(values: pd.Series) -> pd.Series:
    """UTC times, NaT where there is none to be read. All of a column are of one kind."""
    numbers = pd.to_numeric(values, errors="coerce") if not _is_time(values) else None
    if numbers is not None and numbers.notna().all() and numbers.median() >= _FIRST_EPOCH:
        unit = "ms" if numbers.median() > 1e11 else "s"
        return pd.to_datetime(numbers, unit=unit, utc=True, errors="coerce")
    dates = values.astype(str) if numbers is not None else values  # 20240101 is a date
    return pd.to_datetime(dates, utc=True, errors="coerce", format="ISO8601")


def _is_time(values: pd.Series) -> bool:
    return pd.api.types.is_datetime64_any_dtype(values)


def numbers(frame: pd.DataFrame, column: str, *, table: str) -> pd.Series:
    """A column of numbers; empty stays missing, anything else that is no number is refused."""
    values = frame[column]
    empty = values.isna() | (values.astype(str).str.strip() == "")
    parsed = pd.to_numeric(values.where(~empty), errors="coerce")
    refuse(frame, ~np.isfinite(parsed) & ~empty, table=table, column=column, rule="not a number")
    return parsed.astype("float64")


def holds_lists(column: pd.Series) -> bool:
    """Whether a column is one of tags: lists, as Parquet's `list<string>` is read."""
    present = column.dropna() if column.dtype == object else column.head(0)
    return len(present) > 0 and isinstance(present.iloc[0], list | tuple | np.ndarray)


def tags(frame: pd.DataFrame, column: str, *, table: str) -> pd.Series:
    """A column of lists of text, each tag once, in order; a missing list is an empty one."""
    values = frame[column]
    lists = values.map(lambda value: isinstance(value, list | tuple | np.ndarray))
    refuse(frame, ~lists & values.notna(), table=table, column=column, rule="not a list of tags")
    found = [
        list(dict.fromkeys(text for tag in value if (text := str(tag).strip()))) if is_list else []
        for value, is_list in zip(values, lists, strict=True)
    ]
    return pd.Series(found, index=frame.index, dtype=object)


def build_dataset(
    tables: dict[str, pd.DataFrame],
    *,
    now: datetime,
    ordered_by: str = "timestamp",
    notes: tuple[str, ...] = (),
    set_aside: pd.DataFrame | None = None,
) -> Dataset:
    """Check raw tables and make the canonical data set of them.

    `set_aside` are rows an adapter has taken out already, with their `reason`. Raises
    `DataQualityError` or `NotEnoughDataError`.
    """
    products = _products(tables["products"]) if "products" in tables else None
    clean = _interactions(tables["interactions"], now=now)
    clean, rejected = _set_aside(clean, products)
    if set_aside is not None and len(set_aside):
        rejected = pd.concat([set_aside.astype(str), rejected.astype(str)], ignore_index=True)
    _require_enough(clean)
    customers = _customers(tables["customers"]) if "customers" in tables else None
    profile = profile_of(clean, rejected, ordered_by=ordered_by, notes=notes)
    return Dataset(clean, products, customers, rejected, profile)


def _interactions(raw: pd.DataFrame, *, now: datetime) -> pd.DataFrame:
    table = "interactions"
    require_columns(raw, INTERACTIONS, table=table)
    frame = pd.DataFrame(
        {
            "customer_id": ids(raw, "customer_id", table=table),
            "product_id": ids(raw, "product_id", table=table),
            "event": ids(raw, "event", table=table),
            "timestamp": times(raw, "timestamp", table=table, now=now),
        }
    )
    for column in ("value", "quantity"):
        if column in raw.columns:
            frame[column] = numbers(raw, column, table=table)
    if "session_id" in raw.columns:
        frame["session_id"] = raw["session_id"].astype(str)
    return frame.sort_values(["timestamp"], kind="stable", ignore_index=True)


def _products(raw: pd.DataFrame) -> pd.DataFrame:
    require_columns(raw, ("product_id",), table="products")
    frame = raw.copy()
    frame["product_id"] = ids(raw, "product_id", table="products")
    if "price" in frame.columns:
        frame["price"] = numbers(raw, "price", table="products")
    for column in {"available_from", "available_until"} & set(frame.columns):
        frame[column] = optional_times(raw, column, table="products")
    for column in frame.columns:
        if holds_lists(frame[column]):
            frame[column] = tags(frame, column, table="products")
    twice = frame["product_id"].duplicated()
    refuse(frame, twice, table="products", column="product_id", rule="the same product twice")
    return frame


def _customers(raw: pd.DataFrame) -> pd.DataFrame:
    require_columns(raw, ("customer_id",), table="customers")
    frame = raw.copy()
    frame["customer_id"] = ids(raw, "customer_id", table="customers")
    return frame


def _set_aside(
    frame: pd.DataFrame, products: pd.DataFrame | None
) -> tuple[pd.DataFrame, pd.DataFrame]:
    keys = [c for c in (*INTERACTIONS, "session_id") if c in frame.columns]
    reason = pd.Series("", index=frame.index)
    reason[frame.duplicated(keys)] = "duplicate"
    if products is not None:
        unknown = ~frame["product_id"].isin(products["product_id"])
        reason[unknown] = "product not in the products table"
    out = reason != ""
    rejected = frame[out].assign(reason=reason[out])
    return frame[~out].reset_index(drop=True), rejected


def _require_enough(frame: pd.DataFrame) -> None:
    returning = int((frame.groupby("customer_id").size() >= 2).sum())
    products = frame["product_id"].nunique()
    if returning < MINIMUM_CUSTOMERS or products < MINIMUM_PRODUCTS:
        raise NotEnoughDataError(
            f"{len(frame):,} interactions, {returning} customers with two or more of them, "
            f"{products} products: at least {MINIMUM_CUSTOMERS} such customers and "
            f"{MINIMUM_PRODUCTS} products are needed to learn anything"
        )


def profile_of(
    frame: pd.DataFrame, rejected: pd.DataFrame, *, ordered_by: str, notes: tuple[str, ...]
) -> dict[str, Any]:
    """What a data set holds, as plain JSON."""
    first, last = frame["timestamp"].min(), frame["timestamp"].max()
    timed = ordered_by == "timestamp"
    repeats = frame.duplicated(["customer_id", "product_id"])
    return {
        "rows": len(frame),
        "customers": int(frame["customer_id"].nunique()),
        "products": int(frame["product_id"].nunique()),
        "ordered_by": ordered_by,
        "first": first.isoformat() if timed else None,
        "last": last.isoformat() if timed else None,
        "days": (last - first).days if timed else None,
        "events": {str(k): int(v) for k, v in frame["event"].value_counts().items()},
        "repeat_share": round(float(repeats.mean()), 4),
        "rejected": {str(k): int(v) for k, v in rejected["reason"].value_counts().items()}
        if len(rejected)
        else {},
        "notes": list(notes),
    }
