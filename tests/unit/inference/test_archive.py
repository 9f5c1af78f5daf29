"""The archive: keys made from the content, days by the event's time, rows that fit."""

import io
from datetime import UTC, datetime, timedelta, timezone

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from pyarrow import parquet as files

from inference.archive import (
    LIST_SECONDS,
    Archive,
    ArchiveError,
    ErasedMeanwhileError,
    folder_of,
    parquet,
)
from inference.archive_tables import TABLES
from inference.suppression import Suppression, encode_suppression

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Objects:
    """What was put, by key; and a list of who was erased, if any."""

    def __init__(self, erased=None):
        self.content, self.asked = {}, 0
        self._erased = erased

    def get_object(self, *, Bucket, Key):
        assert Key == "tenants/shop/suppression.json"
        self.asked += 1
        if self._erased is None:
            raise ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject")
        return {"Body": io.BytesIO(encode_suppression(self._erased)), "ETag": "1"}

    def put_object(self, *, Bucket, Key, Body, Metadata):
        self.content[Key] = Body


def interaction(number: int, *, at: datetime = NOON) -> dict:
    return {
        "event_id": f"e{number}",
        "timestamp": at,
        "customer_id": f"c{number % 3}",
        "product_id": "p",
        "event": "view",
    }


def written(rows, *, table="interactions", erased=None):
    objects = Objects(erased)
    Archive("b", s3=objects).write("shop", {table: rows}, source="shard-0")
    return objects.content


def test_what_is_written_to_s3_reads_back():
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="stage")
        rows = [interaction(1), {**interaction(2), "value": 2.5, "session_id": "s"}]
        [key] = Archive("stage", s3=s3).write("shop", {"interactions": rows}, source="shard-0")
        found = s3.get_object(Bucket="stage", Key=key)
        assert key.startswith("tenants/shop/events/interactions/day=2026-03-01/")
        assert found["Metadata"] == {"source": "shard-0"}
        table = files.read_table(io.BytesIO(found["Body"].read()))
    assert {row["event_id"]: row["value"] for row in table.to_pylist()} == {"e1": None, "e2": 2.5}
    assert table.column("timestamp").to_pylist() == [NOON, NOON]


def test_what_comes_late_of_who_was_erased_is_not_written():
    rows = [interaction(n, at=NOON + timedelta(hours=n)) for n in range(6)]
    erased = Suppression(salt="5a").with_erased(["c0"], at=NOON + timedelta(hours=2))
    [content] = written(rows, erased=erased).values()
    kept = files.read_table(io.BytesIO(content)).column("event_id").to_pylist()
    assert sorted(kept) == ["e1", "e2", "e3", "e4", "e5"]
    request = {"event_id": "r", "timestamp": NOON, "customer_id": "c0"}
    assert written([request], table="erasures", erased=erased) == {}
    assert written([{**request, "customer_id": None}], table="rewards", erased=erased)


def test_a_batch_of_several_tables_asks_once_who_was_erased():
    erased = Suppression(salt="5a").with_erased(["c0"], at=NOON)
    objects = Objects(erased)
    request = {"event_id": "r", "timestamp": NOON, "customer_id": "c1"}
    tables = {"interactions": [interaction(0), interaction(1)], "erasures": [request]}
    keys = Archive("b", s3=objects).write("shop", tables, source="shard-0")
    assert [key.split("/")[3] for key in keys] == ["interactions", "erasures"]
    assert objects.asked == 1
    with pytest.raises(ArchiveError):
        Archive("b", s3=objects).write("shop", {**tables, "rewards": [{}]}, source="shard-0")
    assert sorted(objects.content) == sorted(keys)


@pytest.mark.parametrize("is_erased", [False, True])
def test_a_batch_that_takes_long_asks_again_and_ends_where_somebody_was_erased(is_erased):
    """Many days are many objects; an erasure does not wait for all of them."""
    passed = [0.0]

    class Slow(Objects):
        def put_object(self, **given):
            passed[0] += 0.7 * LIST_SECONDS
            super().put_object(**given)
            if is_erased and len(self.content) == 3:
                self._erased = Suppression(salt="5a").with_erased(["c0"], at=NOON)

    objects, days = Slow(), range(9)
    rows = [interaction(n, at=NOON - timedelta(days=n)) for n in days]
    archive = Archive("b", s3=objects, clock=lambda: passed[0])
    if not is_erased:
        assert len(archive.write("shop", {"interactions": rows}, source="s")) == len(days)
        assert objects.asked == 5
        return
    with pytest.raises(ErasedMeanwhileError, match="shop"):
        archive.write("shop", {"interactions": rows}, source="s")
    assert len(objects.content) == 4


def test_nothing_is_written_while_nobody_can_say_who_was_erased():
    class Refusing(Objects):
        def get_object(self, *, Bucket, Key):
            raise ClientError({"Error": {"Code": "AccessDenied"}}, "GetObject")

    objects = Refusing()
    with pytest.raises(ClientError):
        Archive("b", s3=objects).write("shop", {"interactions": [interaction(1)]}, source="s")
    assert objects.content == {}


def test_files_are_zstd():
    group = files.ParquetFile(io.BytesIO(parquet([interaction(1)], table="interactions"))).metadata
    assert group.row_group(0).column(0).compression == "ZSTD"


@given(st.permutations(range(6)))
def test_a_retried_batch_overwrites_itself_in_any_order(order):
    rows = [interaction(n, at=NOON + timedelta(hours=5 * n)) for n in range(6)]
    assert written([rows[n] for n in order]) == written(rows)


def test_another_batch_is_another_object():
    assert written([interaction(1)]).keys() != written([interaction(2)]).keys()


def test_the_day_is_that_of_the_event_in_utc():
    tokyo = timezone(timedelta(hours=9))
    late, early = datetime(2026, 3, 2, 8, 59, tzinfo=tokyo), datetime(2026, 3, 2, 9, tzinfo=tokyo)
    days = [
        key.split("/")[4] for key in written([interaction(1, at=early), interaction(2, at=late)])
    ]
    assert days == ["day=2026-03-01", "day=2026-03-02"]


def test_decisions_have_a_folder_of_their_own_and_keep_their_slots():
    slot = {"product_id": "p", "score": 1.5, "propensity": 0.5, "explored": True, "promoted": False}
    decision = {"decision_id": "d", "at": NOON, "slots": [slot], "exclusions": []}
    [(key, content)] = written([decision], table="decisions").items()
    assert key.startswith("tenants/shop/decisions/day=2026-03-01/")
    [row] = files.read_table(io.BytesIO(content)).to_pylist()
    assert (row["slots"], row["exclusions"], row["eligible"]) == ([slot], [], None)


@pytest.mark.parametrize("table", TABLES)
def test_every_table_takes_a_row_of_its_identity_and_time(table):
    kind = TABLES[table]
    assert len(written([{kind.identity: "x", kind.time: NOON}], table=table)) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"colour": "red"}, "row 1: no column colour"),
        ({"event_id": ""}, "expected an id as event_id, not ''"),
        ({"timestamp": datetime(2026, 3, 1)}, "expected a datetime with a zone"),
        ({"timestamp": "2026-03-01"}, "expected a datetime with a zone"),
        ({"value": "dear"}, "does not fit its column"),
    ],
)
def test_a_row_that_does_not_fit_is_refused_and_nothing_is_written(change, told):
    objects = Objects()
    rows = [interaction(1), {**interaction(2, at=NOON + timedelta(days=1)), **change}]
    with pytest.raises(ArchiveError, match=told):
        Archive("b", s3=objects).write("shop", {"interactions": rows}, source="shard-0")
    assert objects.content == {}


def test_an_unknown_field_of_a_slot_is_refused_rather_than_dropped():
    decision = {"decision_id": "d", "at": NOON, "slots": [{"product_id": "p", "rank": 1}]}
    with pytest.raises(ArchiveError, match="slots has no rank"):
        written([decision], table="decisions")


def test_an_unknown_table_is_refused():
    with pytest.raises(ArchiveError, match=r"'purchases' is no table.*interactions"):
        folder_of("shop", "purchases")
