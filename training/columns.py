"""Columns of tables that people made: read as ids, times, numbers or tags, or refused.

A refusal (`DataQualityError`) names the table, the column, the rule, how many rows broke it, and
examples. All ids are strings, all times UTC (a time without a zone is taken as UTC).
"""

from __future__ import annotations

import difflib
from datetime import datetime, timedelta

import numpy as np
import pandas as pd

from training.errors import DataQualityError

FUTURE_TOLERANCE = timedelta(days=1)
_EXAMPLES = 3
_EXACT_FLOAT = 2.0**53  # above it not every whole number has a float of its own
_MAP_IT = "If one of them is it, say --map {column}={theirs}"
_NO_TIME = "not a time; expected ISO 8601, or epoch seconds or milliseconds, one of them throughout"
_EARLIEST = pd.Timestamp(0, tz="UTC")
_FIRST_EPOCH = 1e8  # seconds: 1973; a smaller number is a date like 20240101
_FIRST_EPOCH_MS = 1e11  # the same moment
_LAST_EPOCH = 253_402_300_799  # seconds: the end of the year 9999


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
    text, empty = _id_texts(frame, column, table=table)
    refuse(frame, empty, table=table, column=column, rule="empty id")
    return text


def optional_ids(frame: pd.DataFrame, column: str, *, table: str) -> pd.Series:
    """The same where an id may be missing: None there."""
    text, empty = _id_texts(frame, column, table=table)
    return text.astype(object).where(~empty, None)


def _id_texts(frame: pd.DataFrame, column: str, *, table: str) -> tuple[pd.Series, pd.Series]:
    """Ids as text, and which are empty; of one id there is one text, whatever column holds it."""
    values = frame[column]
    if pd.api.types.is_float_dtype(values):  # whole numbers, some of them missing
        fraction = values.notna() & (values % 1 != 0)
        refuse(frame, fraction, table=table, column=column, rule="an id is no fraction")
        rule = "too long for a number to hold exactly; make it text"
        refuse(frame, values.abs() > _EXACT_FLOAT, table=table, column=column, rule=rule)
        return values.fillna(0).astype("int64").astype(str), values.isna()
    if values.dtype == object:
        kinds = {type(v).__name__ for v in values.head(100_000) if v is not None and v == v}
        odd = values.map(type) != (str if "str" in kinds else type(values.iloc[0]))
        if len(kinds) > 1:
            rule = f"mixed types {sorted(kinds)}; make them all text"
            refuse(frame, odd & values.notna(), table=table, column=column, rule=rule)
    text = values.astype(str).str.strip()
    return text, values.isna() | (text == "")


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
        is_ms = numbers.median() > _FIRST_EPOCH_MS
        seconds = numbers.between(_FIRST_EPOCH, _FIRST_EPOCH_MS)  # 0 is a time of either
        alien = seconds if is_ms else numbers > _LAST_EPOCH
        unit = "ms" if is_ms else "s"
        return pd.to_datetime(numbers.mask(alien), unit=unit, utc=True, errors="coerce")
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
