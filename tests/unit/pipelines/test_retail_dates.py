"""Invoices whose dates a spreadsheet wrote: one form for the whole file, or a refusal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from pipelines import data
from training.datasets import Dataset
from training.errors import DataQualityError

NOW = datetime(2026, 11, 24, tzinfo=UTC)
MONDAY = datetime(2010, 12, 1, 8, 6)
ISO = "%Y-%m-%d %H:%M"
HEADER = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"


def invoices(folder: Path, form: str, *, days: int = 40, odd: str = "") -> Path:
    """Ten lines a day of 30 customers; `odd` is written for the date of row 7."""
    at = [MONDAY + timedelta(days=n // 10, hours=n % 10) for n in range(10 * days)]
    dates = [one.strftime(form) for one in at]
    dates[6] = odd or dates[6]
    rows = [
        f"{536000 + n},{20000 + n % 9},MUG,1,{date},2.5,{17000 + n % 30},United Kingdom"
        for n, date in enumerate(dates)
    ]
    path = folder / "invoices.csv"
    path.write_text("\n".join([HEADER, *rows]) + "\n")
    return path


def read(path: Path) -> Dataset:
    [dataset] = data.read_sources(path, now=NOW)
    assert isinstance(dataset, Dataset)
    return dataset


@pytest.mark.parametrize(
    "form",
    [
        "%m/%d/%Y %H:%M",
        "%m/%d/%y %H:%M",
        "%m/%d/%Y %I:%M %p",
        "%d/%m/%Y %H:%M",
        "%d-%m-%Y %H:%M",
        "%d.%m.%Y %H:%M",
        "%m-%d-%Y %H:%M",
        "%Y-%m-%dT%H:%M:00Z",
    ],
)
def test_all_forms_say_the_same(tmp_path: Path, form: str) -> None:
    """Regression: of dates with the day first those up to the twelfth were read month first, the
    others day first, and a file of weeks spread over a year."""
    expected = read(invoices(tmp_path, ISO)).interactions
    found = read(invoices(tmp_path, form))
    pd.testing.assert_frame_equal(found.interactions, expected)
    has_note = any("day first" in note for note in found.profile["notes"])
    assert has_note == form.startswith("%d")


def test_slashes_are_month_first_where_nothing_tells(tmp_path: Path) -> None:
    """As the file is published."""
    found = read(invoices(tmp_path, "%m/%d/%Y %H:%M", days=12))
    assert found.profile["last"].startswith("2010-12-12")


@pytest.mark.parametrize("form", ["%d-%m-%Y %H:%M", "%d.%m.%Y %H:%M"])
def test_what_could_be_either_is_refused(tmp_path: Path, form: str) -> None:
    with pytest.raises(DataQualityError, match=r"InvoiceDate: month first or day first\?.*row 1"):
        read(invoices(tmp_path, form, days=12))


@pytest.mark.parametrize(
    ("form", "odd", "words"),
    [
        ("%m/%d/%Y %H:%M", "13/12/2010 8:26", "month stands first in some"),
        ("%d.%m.%Y %H:%M", "12.31.2010 8:26", "month stands first in some"),
        ("%m/%d/%Y %H:%M", "2010-12-13 08:26", "not a time as the others are"),
        (ISO, "12/13/2010 8:26", "not a time as the others are"),
        ("%m/%d/%Y %H:%M", "2/30/2010 8:26", "not a time as the others are"),
        ("%m/%d/%Y %H:%M", "soon", "not a time as the others are"),
    ],
)
def test_a_line_of_another_form_is_named(tmp_path: Path, form: str, odd: str, words: str) -> None:
    with pytest.raises(DataQualityError, match=f"{words}.*: 1 of 400 rows, e.g. row 7: '{odd}'"):
        read(invoices(tmp_path, form, odd=odd))
