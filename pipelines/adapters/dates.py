"""Columns of dates as people and spreadsheets write them: one form for a whole column, never one a
line. Used by the adapters of files whose publisher did not write ISO 8601."""

from __future__ import annotations

import pandas as pd

from training.columns import refuse

# Two numbers and a year, divided by the same sign; perhaps a time of day.
_NUMBERED = (
    r"^\s*(?P<first>\d{1,2})(?P<sign>[/.-])(?P<second>\d{1,2})(?P=sign)(?P<year>\d{4}|\d{2})"
    r"(?P<clock>\s+\d{1,2}:\d{2}(?::\d{2})?(?:\s*[AaPp][Mm])?)?\s*$"
)
_MONTHS = 12
_NO_TIME = "not a time as the others are; expected ISO 8601, or 12/31/2010 8:26 throughout"
_NEITHER = "the month stands first in some dates, the day in others; write ISO 8601"
_UNCLEAR = "month first or day first? No number above 12 tells; write ISO 8601 (2010-12-31 08:26)"
_DAY_FIRST = "dates have the day first, as {example!r} shows"


def written_times(frame: pd.DataFrame, column: str, *, table: str) -> tuple[pd.Series, str]:
    """UTC times without a zone, and a note where the reader should know how they were read.

    ISO 8601 or `12/31/2010 8:26`, month first, unless a number above 12 says that the day is
    first. `31.12.2010` and `31-12-2010` need such a number. Raises `DataQualityError`.
    """
    values = frame[column]
    if pd.api.types.is_datetime64_any_dtype(values):
        return pd.to_datetime(values, utc=True).dt.tz_localize(None), ""
    distinct = pd.Series(values.dropna().astype(str).unique(), dtype=str)
    parts = distinct.str.extract(_NUMBERED)
    numbered = parts["first"].notna()
    note = ""
    if numbered.mean() > 0.5:
        month, day, note = _order(frame, column, distinct, parts, table=table)
        year = parts["year"].where(parts["year"].str.len() == 4, "20" + parts["year"])
        dates = year + "-" + month + "-" + day + parts["clock"].fillna("")
        parsed = pd.to_datetime(dates, utc=True, errors="coerce", format="mixed")
    else:
        parsed = pd.to_datetime(distinct, utc=True, errors="coerce", format="ISO8601")
    times = values.astype(str).map(dict(zip(distinct, parsed.dt.tz_localize(None), strict=True)))
    refuse(frame, times.isna(), table=table, column=column, rule=_NO_TIME)
    return times, note


def _order(
    frame: pd.DataFrame, column: str, distinct: pd.Series, parts: pd.DataFrame, *, table: str
) -> tuple[pd.Series, pd.Series, str]:
    """Months, days and the note, of the one order that all dates of the column fit."""
    first, second = (pd.to_numeric(parts[name]) > _MONTHS for name in ("first", "second"))
    rows = frame[column].astype(str)
    if first.any() and second.any():
        rarer = first if first.sum() < second.sum() else second
        refuse(frame, rows.isin(distinct[rarer]), table=table, column=column, rule=_NEITHER)
    if first.any():
        note = _DAY_FIRST.format(example=distinct[first].iloc[0])
        return parts["second"], parts["first"], note
    if not second.any():
        odd = parts["sign"].isin(["-", "."])
        refuse(frame, rows.isin(distinct[odd]), table=table, column=column, rule=_UNCLEAR)
    return parts["first"], parts["second"], ""
