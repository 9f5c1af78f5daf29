"""Bad data is refused with table, column, rule and examples; harmless rows are set aside."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from training.columns import ids, numbers, optional_times, times
from training.datasets import build_dataset, read_dataset
from training.errors import DataQualityError, NotEnoughDataError
from training.table_files import read_table

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def interactions(customers: int = 25, each: int = 4) -> pd.DataFrame:
    """Sound interactions: text ids, ISO times, six products."""
    rows = [
        (f"c{c}", f"p{(c + i) % 6}", "purchase", f"2025-{1 + i:02d}-{1 + c:02d}T10:00:00Z")
        for c in range(customers)
        for i in range(each)
    ]
    return pd.DataFrame(rows, columns=["customer_id", "product_id", "event", "timestamp"])


def build(frame: pd.DataFrame, **tables: pd.DataFrame) -> Any:
    return build_dataset({"interactions": frame, **tables}, now=NOW)


def test_sound_data_is_kept_and_profiled() -> None:
    dataset = build(interactions())
    assert len(dataset.interactions) == dataset.profile["rows"] == 100
    assert (dataset.profile["customers"], dataset.profile["products"]) == (25, 6)
    assert dataset.profile["events"] == {"purchase": 100}
    assert dataset.profile["rejected"] == {}
    assert dataset.interactions["timestamp"].is_monotonic_increasing
    assert str(dataset.interactions["timestamp"].dt.tz) == "UTC"


@pytest.mark.parametrize(
    ("theirs", "column"),
    [("customer", "customer_id"), ("item_id", "product_id"), ("time_stamp", "timestamp")],
)
def test_a_missing_column_names_the_nearest_and_the_option(theirs: str, column: str) -> None:
    with pytest.raises(DataQualityError) as caught:
        build(interactions().rename(columns={column: theirs}))
    assert f"column {column!r} is missing" in str(caught.value)
    if theirs != "item_id":
        assert f"--map {column}={theirs}" in str(caught.value)


def test_a_missing_column_without_a_near_one_still_names_the_option() -> None:
    frame = interactions().rename(columns={"event": "qqq"})
    with pytest.raises(DataQualityError, match="--map event=THEIRS"):
        build(frame)


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("timestamp", "yesterday", "not a time"),
        ("timestamp", "2025-13-01", "not a time"),
        ("timestamp", "", "not a time"),
        ("timestamp", "2026-01-03T00:00:00Z", "in the future"),
        ("customer_id", "", "empty id"),
        ("customer_id", "  ", "empty id"),
        ("product_id", None, "empty id"),
        ("event", "", "empty id"),
    ],
)
def test_a_bad_value_is_refused_with_its_row(column: str, value: Any, rule: str) -> None:
    frame = interactions()
    frame.loc[6, column] = value
    with pytest.raises(DataQualityError, match=rf"interactions\.{column}: {rule}.*1 of 100 rows"):
        build(frame)


def test_the_example_is_the_bad_row() -> None:
    frame = pd.DataFrame({"timestamp": ["2025-01-01", "never"]})
    with pytest.raises(DataQualityError, match=r"1 of 2 rows.*row 2: 'never'"):
        times(frame, "timestamp", table="interactions", now=NOW)


def test_a_column_of_mixed_types_is_refused() -> None:
    frame = interactions().astype({"product_id": object})
    frame.loc[3, "product_id"] = 7
    with pytest.raises(DataQualityError, match=r"mixed types \['int', 'str'\].*row 4: 7"):
        build(frame)


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 2], ["1", "2"]), ([1.0, 2.0], ["1", "2"]), ([" a", "007"], ["a", "007"])],
)
def test_ids_become_text(values: list[Any], expected: list[str]) -> None:
    assert ids(pd.DataFrame({"a": values}), "a", table="t").tolist() == expected


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        (1.5, "no fraction.*row 2: 1.5$"),
        (float("nan"), "empty id.*row 2: nan$"),
        (1e300, "make it text"),
    ],
)
def test_float_ids_must_be_whole(value: float, rule: str) -> None:
    with pytest.raises(DataQualityError, match=rule):
        ids(pd.DataFrame({"a": [1.0, value]}), "a", table="t")


@pytest.mark.parametrize(
    "value",
    ["2025-01-01T00:00:00Z", "2025-01-01", "2025-01-01T02:00:00+02:00", 1735689600, 1735689600000],
)
def test_every_way_to_write_a_time_is_the_same_time(value: Any) -> None:
    parsed = times(pd.DataFrame({"t": [value]}), "t", table="x", now=NOW)
    assert parsed.tolist() == [pd.Timestamp("2025-01-01", tz="UTC")]


def test_numbers_may_be_missing_but_not_words() -> None:
    parsed = numbers(pd.DataFrame({"v": ["1.5", "", " 2 "]}), "v", table="t")
    assert parsed.isna().tolist() == [False, True, False]
    with pytest.raises(DataQualityError, match=r"t\.v: not a number: 1 of 2 rows.*'cheap'"):
        numbers(pd.DataFrame({"v": ["1", "cheap"]}), "v", table="t")


def test_duplicates_and_unknown_products_are_set_aside_and_counted() -> None:
    frame = pd.concat([interactions(), interactions().head(3)], ignore_index=True)
    products = pd.DataFrame({"product_id": [f"p{i}" for i in range(5)]})
    dataset = build(frame, products=products)
    assert dataset.profile["rejected"].keys() == {"duplicate", "product not in the products table"}
    assert len(dataset.interactions) + len(dataset.rejected) == len(frame)
    assert sum(dataset.profile["rejected"].values()) == len(dataset.rejected)
    assert set(dataset.interactions["product_id"]) == set(products["product_id"])
    assert not dataset.interactions.duplicated().any()


def test_rows_an_adapter_set_aside_are_counted_too() -> None:
    aside = interactions().head(2).assign(reason="cancelled")
    dataset = build_dataset({"interactions": interactions()}, now=NOW, set_aside=aside)
    assert dataset.profile["rejected"] == {"cancelled": 2}


def test_a_product_twice_is_refused() -> None:
    products = pd.DataFrame({"product_id": ["p1", "p1"]})
    with pytest.raises(DataQualityError, match="the same product twice"):
        build(interactions(), products=products)


@pytest.mark.parametrize("frame", [interactions().head(5), interactions(each=1)])
def test_too_little_is_not_enough(frame: pd.DataFrame) -> None:
    with pytest.raises(NotEnoughDataError, match="at least 20 such customers and 5 products"):
        build(frame)


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".csv": bytes,
    ".csv.gz": gzip.compress,
    ".csv.xz": lzma.compress,
    ".csv.bz2": bz2.compress,
}


@pytest.mark.parametrize("suffix", COMPRESS)
def test_every_suffix_reads_the_same(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"interactions{suffix}"
    path.write_bytes(COMPRESS[suffix](interactions().to_csv(index=False).encode("utf-8-sig")))
    pd.testing.assert_frame_equal(read_table(path), interactions())


@pytest.mark.parametrize("suffix", [".csv.gz", ".csv.xz", ".csv.bz2"])
def test_a_truncated_file_is_refused(tmp_path: Path, suffix: str) -> None:
    content = COMPRESS[suffix](interactions(200).to_csv(index=False).encode())
    path = tmp_path / f"interactions{suffix}"
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataQualityError, match=rf"interactions{suffix}: broken or truncated"):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b"customer_id,product_id\n", "a header and no rows"),
        ("a.csv", b"name\n\xe9t\xe9\n", "not UTF-8 at byte"),
        ("a.csv", b"a,b\n1,2\n1,2,3,4\n", "not a table"),
        ("a.csv.gz", b"a,b\n1,2\n", "broken or truncated"),
        ("a.csv.xz", b"a,b\n1,2\n", "broken or truncated"),
        ("a.parquet", b"PAR1 no", "broken or truncated"),
        ("a.parquet", b"", "broken or truncated"),
    ],
)
def test_what_is_no_table_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataQualityError, match=rf"{name}: {message}"):
        read_table(tmp_path / name)


def test_a_canonical_folder_reads_back(tmp_path: Path) -> None:
    build(interactions()).interactions.to_parquet(tmp_path / "interactions.parquet")
    dataset = read_dataset(tmp_path)
    assert (len(dataset.interactions), dataset.products, dataset.profile) == (100, None, {})


def test_a_folder_without_interactions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataQualityError, match="no interactions table"):
        read_dataset(tmp_path)


SECONDS = [1_735_689_600 + 60 * n for n in range(9)]  # from 2025-01-01


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(("most", "one"), [(1000, 1), (1, 1000)])
def test_seconds_among_milliseconds_are_refused(most: int, one: int, as_text: bool) -> None:
    """Regression: the seconds became times of 1970-01-21."""
    values = pd.Series([n * most for n in SECONDS])
    values[3] = SECONDS[3] * one
    frame = pd.DataFrame({"timestamp": values.astype(str) if as_text else values})
    with pytest.raises(DataQualityError, match=f"not a time.*1 of 9.*row 4: .*{values[3]}"):
        times(frame, "timestamp", table="interactions", now=NOW)
    with pytest.raises(DataQualityError, match=r"not a time.*1 of 9"):
        optional_times(frame, "timestamp", table="products")


@pytest.mark.parametrize("unit", [1, 1000])
def test_never_and_always_are_epochs_of_either_unit(unit: int) -> None:
    """0, and the end of the year 9999, as shops write them for an offer without bounds."""
    frame = pd.DataFrame({"until": [n * unit for n in (0, *SECONDS, 253_402_300_799)]})
    found = optional_times(frame, "until", table="products")
    assert (found.dt.year.iloc[[0, 1, -1]] == [1970, 2025, 9999]).all()
