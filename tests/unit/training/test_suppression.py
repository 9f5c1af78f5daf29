"""Who was erased stays out of tables: by time, whatever the order, and nobody else."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet as files

from inference.suppression import (
    NOBODY,
    Suppression,
    SuppressionError,
    decode_suppression,
    encode_suppression,
)
from training.suppression import Stripped, read_suppression, strip_file, without_suppressed

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANN_GONE = Suppression(salt="5a").with_erased(["ann"], at=NOON)


def table(rows):
    """Of (customer, hours from noon)."""
    frame = pd.DataFrame(rows, columns=["customer_id", "timestamp"])
    times = [NOON + timedelta(hours=hours) for hours in frame["timestamp"]]
    return frame.assign(timestamp=pd.to_datetime(times, utc=True).astype("datetime64[us, UTC]"))


def customers(frame):
    return list(frame["customer_id"])


def test_what_happened_up_to_the_erasure_is_dropped_and_what_came_later_kept():
    kept = without_suppressed(table([("ann", -1), ("bo", -1), ("ann", 0), ("ann", 1)]), ANN_GONE)
    assert customers(kept) == ["bo", "ann"]
    assert kept["timestamp"].iloc[1] == pd.Timestamp(NOON + timedelta(hours=1))
    assert list(kept.index) == [0, 1]


def test_rows_without_times_go_all():
    rows = pd.DataFrame({"customer_id": ["ann", "bo", None]})
    assert customers(without_suppressed(rows, ANN_GONE, time=None))[:1] == ["bo"]
    assert len(without_suppressed(rows, ANN_GONE, time=None)) == 2


def test_a_row_of_others_without_a_time_stays():
    rows = table([("ann", 1), ("bo", 1)])
    rows.loc[:, "timestamp"] = pd.NaT
    rows["timestamp"] = rows["timestamp"].astype("datetime64[us, UTC]")
    assert customers(without_suppressed(rows, ANN_GONE)) == ["bo"]


def test_an_empty_list_copies_nothing():
    rows = table([("ann", 0)])
    assert without_suppressed(rows, NOBODY) is rows
    assert without_suppressed(rows, Suppression(salt="5a").with_erased(["x"], at=NOON)) is rows


NAMES = st.sampled_from(["ann", "bo", "cy", "di"])


@given(
    st.lists(st.tuples(NAMES, st.integers(-3, 3)), max_size=20),
    st.lists(st.tuples(NAMES, st.integers(-3, 3)), max_size=5),
)
def test_it_keeps_what_row_by_row_would_be_kept(rows, erasures):
    suppression = Suppression(salt="5a")
    for name, hours in erasures:
        suppression = suppression.with_erased([name], at=NOON + timedelta(hours=hours))
    last = {name: max(h for n, h in erasures if n == name) for name, _ in erasures}
    wanted = [row for row in rows if row[1] > last.get(row[0], -99)]
    assert customers(without_suppressed(table(rows), suppression)) == [name for name, _ in wanted]


def test_the_ids_themselves_are_not_in_the_file_and_salts_differ():
    assert b"ann" not in encode_suppression(ANN_GONE)
    assert Suppression(salt="5b").hash_of("ann") != ANN_GONE.hash_of("ann")


def test_a_file_comes_back_as_it_was():
    assert decode_suppression(encode_suppression(ANN_GONE)) == ANN_GONE


def test_a_channel_without_a_list_suppresses_nobody_and_a_broken_one_stops_the_job(tmp_path):
    assert read_suppression(tmp_path) == NOBODY
    (tmp_path / "suppression.json").write_text('{"salt": 1}')
    with pytest.raises(SuppressionError, match=r"suppression.json cannot be read.*Restore it"):
        read_suppression(tmp_path)


def test_numbers_as_ids_are_known_by_their_text():
    rows = pd.DataFrame({"customer_id": np.array([7, 8])})
    seven = Suppression(salt="5a").with_erased(["7"], at=NOON)
    assert customers(without_suppressed(rows, seven, time=None)) == [8]


def written(frame, path, **options):
    frame.to_parquet(path, index=False, **options)
    return path


def test_a_file_is_stripped_group_by_group_with_its_schema_and_compression(tmp_path):
    rows = table([(name, hours) for hours in (-1, 1) for name in ("ann", "bo", "cy")])
    rows["tags"] = [["a"], [], None, ["b", "c"], [], []]
    source = written(rows, tmp_path / "rows.parquet", compression="zstd", row_group_size=2)
    target = tmp_path / "stripped.parquet"
    assert strip_file(source, target, ANN_GONE) == Stripped(removed=1, left=5)
    before, after = files.ParquetFile(source), files.ParquetFile(target)
    assert after.schema_arrow.equals(before.schema_arrow, check_metadata=True)
    assert after.metadata.row_group(0).column(0).compression == "ZSTD"
    assert after.read().to_pylist() == before.read().to_pylist()[1:]


def test_what_was_written_before_an_erasure_is_removed_whatever_its_times(tmp_path):
    source = written(table([("ann", 2), ("bo", 2)]), tmp_path / "rows.parquet")
    target = tmp_path / "stripped.parquet"
    later = NOON + timedelta(hours=1)
    assert strip_file(source, target, ANN_GONE, written_at=later).removed == 0
    assert not target.exists()
    assert strip_file(source, target, ANN_GONE, written_at=NOON).removed == 1
    assert customers(pd.read_parquet(target)) == ["bo"]


def test_a_file_of_the_erased_alone_is_not_written_and_one_without_customers_left(tmp_path):
    target = tmp_path / "stripped.parquet"
    alone = written(table([("ann", 0)]), tmp_path / "alone.parquet")
    assert strip_file(alone, target, ANN_GONE) == Stripped(removed=1, left=0)
    products = written(pd.DataFrame({"product_id": ["ann"]}), tmp_path / "products.parquet")
    assert strip_file(products, target, ANN_GONE) == Stripped(removed=0, left=1)
    assert not target.exists()


def test_times_that_are_text_do_not_keep_anybody(tmp_path):
    rows = pd.DataFrame({"customer_id": ["ann", "bo"], "timestamp": ["2099-01-01", ""]})
    source = written(rows, tmp_path / "rejected.parquet")
    assert strip_file(source, tmp_path / "s.parquet", ANN_GONE) == Stripped(removed=1, left=1)
