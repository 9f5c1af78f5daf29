"""Erasures: what waits, what is rewritten, what stays, what is left when one is killed; on moto."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from botocore.exceptions import ClientError

from inference.archive import Archive
from inference.decision_records import DecisionRecord, encode_record
from inference.dynamo_profiles import DynamoProfiles
from inference.profiles import Profile, Stored
from pipelines import data, erasures, suppressions
from pipelines.erased_objects import Rewriter
from pipelines.erasures import Clocks, Erased
from pipelines.errors import ErasureError
from pipelines.receipts import list_receipts
from tests.unit.pipelines.emulated import MotoStage, moto_stage
from training.suppression import without_suppressed

NOW = datetime.now(UTC)
EARLIER = NOW - timedelta(days=30)


@pytest.fixture
def stage() -> Iterator[MotoStage]:
    with moto_stage() as found:
        yield found


@pytest.fixture
def erase(stage: MotoStage) -> Any:
    """Erase customers now, without waiting."""
    clocks = clocks_of_nobody()

    def run(*customers: str, at: datetime | None = None, on: MotoStage = stage) -> Erased:
        times = dict.fromkeys(customers, at or datetime.now(UTC))
        return erasures.erase(on, "acme", times, progress=_silent, clocks=clocks)

    return run


def clocks_of_nobody() -> Clocks:
    """Time that passes by waiting alone."""
    waited: list[float] = []
    return Clocks(now=lambda: NOW, seconds=lambda: sum(waited), sleep=waited.append)


def _silent(what: str, number: int, count: int) -> None:
    """Nobody watches a test."""


def archive(stage: MotoStage, table: str, *rows: dict[str, Any], tenant: str = "acme") -> list[str]:
    written = Archive(stage.bucket, s3=stage.client("s3"))
    return written.write(tenant, {table: rows}, source="shard-0")


def row(customer: str, *, at: datetime = EARLIER, **more: Any) -> dict[str, Any]:
    return {"event_id": f"{customer}{at}", "timestamp": at, "customer_id": customer, **more}


def view(customer: str, **more: Any) -> dict[str, Any]:
    return row(customer, product_id="p", event="view", **more)


def shop(folder: Path, *, customers: int = 25) -> Path:
    """A shop whose products are called like a customer, which must not matter."""
    rows = [
        (f"c{c:02d}", f"c{(c + i) % 6:02d}", "purchase", EARLIER + timedelta(hours=i))
        for c in range(customers)
        for i in range(4)
    ]
    columns = ["customer_id", "product_id", "event", "timestamp"]
    folder.mkdir()
    pd.DataFrame([*rows, rows[12]], columns=columns).to_parquet(folder / "interactions.parquet")
    people = pd.DataFrame({"customer_id": [f"c{c:02d}" for c in range(customers)], "town": "Ulm"})
    people.to_parquet(folder / "customers.parquet")
    return folder


def objects(stage: MotoStage) -> dict[str, bytes]:
    s3 = stage.client("s3")
    listed = s3.list_objects_v2(Bucket=stage.bucket, Prefix="tenants/").get("Contents", [])
    return {
        o["Key"]: s3.get_object(Bucket=stage.bucket, Key=o["Key"])["Body"].read() for o in listed
    }


def tables(stage: MotoStage) -> dict[str, pd.DataFrame]:
    return {
        key: pd.read_parquet(io.BytesIO(body))
        for key, body in objects(stage).items()
        if key.endswith(".parquet")
    }


def holders(stage: MotoStage, customer: str) -> list[str]:
    """Keys of the tables with a row of the customer."""
    return [
        key
        for key, table in tables(stage).items()
        if "customer_id" in table and (table["customer_id"] == customer).any()
    ]


def test_requests_wait_with_their_last_time_and_by_tenant(stage):
    later = EARLIER + timedelta(days=2)
    archive(stage, "erasures", row("ann"), row("bo"), row("ann", at=later))
    archive(stage, "erasures", row("cy"), tenant="zoo")
    assert erasures.pending(stage, "acme") == {"ann": later, "bo": EARLIER}


def test_nothing_waits_where_there_is_no_archive(stage):
    assert erasures.pending(stage, "acme") == {}


def test_an_erased_customer_is_in_no_table_and_everybody_else_is_as_before(stage, erase, tmp_path):
    data.import_datasets(stage, shop(tmp_path / "shop"), tenant="acme")
    archive(stage, "interactions", view("c03"), view("c04"))
    archive(stage, "interactions", view("c03"), tenant="zoo")
    before = tables(stage)
    assert len(holders(stage, "c03")) == 5
    receipt = erase("c03").receipt
    assert [key.split("/")[1] for key in holders(stage, "c03")] == ["zoo"]
    after = tables(stage)
    for key in set(before) & set(after) - {k for k in before if "/zoo/" in k}:
        kept = before[key][before[key]["customer_id"] != "c03"].reset_index(drop=True)
        pd.testing.assert_frame_equal(after[key], kept)
    # 4 interactions, a row of customers, the duplicate that was set aside; 1 event
    assert receipt.rows == {"datasets": 6, "events": 1}
    assert (receipt.rewritten, receipt.deleted) == ({"datasets": 2, "events": 1}, {"datasets": 1})


def test_a_data_set_keeps_its_id_and_its_profile_says_what_is_in_it(stage, erase, tmp_path):
    [imported] = data.import_datasets(stage, shop(tmp_path / "shop"), tenant="acme")
    erase("c03")
    [prefix] = {k.rpartition("/")[0] for k in objects(stage) if k.endswith("profile.json")}
    assert prefix.endswith(imported.dataset_id)
    profile = json.loads(objects(stage)[f"{prefix}/profile.json"])
    assert (profile["rows"], profile["customers"], profile["events"]) == (96, 24, {"purchase": 96})
    assert profile["rejected"] == {}
    assert profile["ordered_by"] == "timestamp"


def test_objects_keep_what_they_were_written_with(stage, erase):
    [key] = archive(stage, "interactions", view("ann"), view("bo"))
    erase("ann")
    found = stage.client("s3").get_object(Bucket=stage.bucket, Key=key)
    assert found["Metadata"] == {"source": "shard-0"}
    assert holders(stage, "bo") == [key]


def test_the_profile_is_empty_at_once_and_late_events_find_it_so(stage, erase):
    profiles = DynamoProfiles(stage.profiles_table, "acme", client=stage.client("dynamodb"))
    profiles.write("ann", Stored(), Stored(Profile(attributes={"town": "Ulm"}), 1, stamps={}))
    erase("ann", at=NOW)
    assert profiles.read("ann").profile == Profile()
    assert profiles.read("ann").erased_at == NOW


def test_what_a_customer_does_who_comes_back_stays(stage, erase):
    archive(stage, "interactions", view("ann"), view("ann", at=NOW - timedelta(hours=1)))
    back_at = datetime.now(UTC) + timedelta(minutes=1)
    # S3 tells the second of a write: one in the second of the erasure counts as before it.
    erase("ann", at=datetime.now(UTC) - timedelta(seconds=1))
    archive(stage, "interactions", view("ann", at=back_at), view("ann"))
    assert {str(t) for table in tables(stage).values() for t in table["timestamp"]} == {
        str(back_at)
    }
    erase("bo")
    assert len(holders(stage, "ann")) == 1


def test_an_event_erases_up_to_its_time_and_waits_no_longer(stage, erase):
    later = datetime.now(UTC) + timedelta(minutes=1)
    archive(stage, "interactions", view("ann"), view("ann", at=later), view("bo"))
    archive(stage, "erasures", row("ann", at=EARLIER + timedelta(days=1)))
    asked = erasures.pending(stage, "acme")
    erasures.erase(stage, "acme", asked, progress=_silent, clocks=clocks_of_nobody())
    assert erasures.pending(stage, "acme") == {}
    [kept] = [t for k, t in tables(stage).items() if f"day={later:%Y-%m-%d}" in k]
    assert kept["customer_id"].tolist() == ["ann"]


class FaultyStage(MotoStage):
    """A stage on which so many writes of tables and profiles succeed, and then none."""

    def client(self, service: str) -> Any:
        found = super().client(service)
        return _Faulty(found) if service == "s3" else found


class _Faulty:
    left = 0
    fault: BaseException = KeyboardInterrupt()

    def __init__(self, s3: Any) -> None:
        self._s3 = s3

    def __getattr__(self, name: str) -> Any:
        return getattr(self._s3, name)

    def put_object(self, **given: Any) -> Any:
        if given["Key"].endswith((".parquet", "profile.json")):
            _Faulty.left -= 1
            if _Faulty.left < 0:
                raise _Faulty.fault
        return self._s3.put_object(**given)


def faulty(stage: MotoStage, fault: BaseException, *, after: int) -> FaultyStage:
    _Faulty.left, _Faulty.fault = after, fault
    return FaultyStage(stage.name, stage.region, stage.account, stage.configuration)


@pytest.mark.parametrize("writes", range(6))
def test_an_erasure_that_is_killed_ends_in_the_same_state_when_it_is_done_again(
    stage, erase, tmp_path, writes
):
    data.import_datasets(stage, shop(tmp_path / "shop"), tenant="acme")
    for day in range(3):
        at = EARLIER + timedelta(days=day)
        archive(stage, "interactions", view("c03", at=at), view("c04", at=at))
    with pytest.raises(KeyboardInterrupt):
        erase("c03", on=faulty(stage, KeyboardInterrupt(), after=writes))
    assert holders(stage, "c03")
    assert list_receipts(stage, "acme") == []
    assert len(erasures.left_over(stage, "acme")) == 1
    assert erase().receipt
    assert holders(stage, "c03") == []
    assert erasures.left_over(stage, "acme") == {}
    [profile] = [json.loads(b) for k, b in objects(stage).items() if k.endswith("profile.json")]
    assert (profile["rows"], profile["customers"], profile["rejected"]) == (96, 24, {})


def test_two_erasures_at_once_erase_both(stage, erase):
    """The second goes through everything between the first one's reading and writing."""
    archive(stage, "interactions", view("ann"), view("bo"), view("cy"))
    first = Rewriter(
        stage, "acme", suppressions.suppress(stage, "acme", {"ann": datetime.now(UTC)})
    )
    check = first._check

    def meanwhile(found: Any, work: Path) -> Any:
        checked = check(found, work)
        erase("bo")
        return checked

    first._check = meanwhile  # type: ignore[method-assign]
    assert first.run(_silent).raced == 1
    assert [t["customer_id"].tolist() for t in tables(stage).values()] == [["cy"]]


def test_what_cannot_be_read_is_named_and_there_is_no_receipt(stage, erase):
    key = "tenants/acme/events/interactions/day=2026-01-01/x.parquet"
    stage.client("s3").put_object(Bucket=stage.bucket, Key=key, Body=b"PAR1 no more")
    archive(stage, "interactions", view("ann"))
    found = erase("ann")
    assert list(found.done.unreadable) == [key]
    assert found.receipt is None
    assert list_receipts(stage, "acme") == []
    stage.client("s3").delete_object(Bucket=stage.bucket, Key=key)
    assert erase().receipt


def letter(stage: MotoStage, record: bytes) -> None:
    body = {
        "at": (datetime.now(UTC) - timedelta(hours=1)).isoformat(),
        "error": "no",
        "path": "$",
        "record": base64.b64encode(record).decode(),
    }
    sqs = stage.client("sqs")
    queue = sqs.get_queue_url(QueueName=stage.dead_letters)["QueueUrl"]
    sqs.send_message(QueueUrl=queue, MessageBody=json.dumps(body))


def test_dead_letters_of_the_customer_go_and_others_stay(stage, erase):
    for record in (
        {"tenant": "acme", "customer_id": "ann", "colour": "red"},
        {"tenant": "acme", "customer_id": "annabel"},
        {"tenant": "zoo", "customer_id": "ann"},
        ["ann"],
    ):
        letter(stage, json.dumps(record).encode())
    letter(stage, b'{"tenant": "acme", "customer_id": "ann", trunc')
    assert erase("ann").receipt.dead_letters == 2
    sqs = stage.client("sqs")
    queue = sqs.get_queue_url(QueueName=stage.dead_letters)["QueueUrl"]
    left = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    records = [base64.b64decode(json.loads(found["Body"])["record"]) for found in left]
    assert sorted(b"annabel" in r or b"zoo" in r or r == b'["ann"]' for r in records) == [True] * 3


def test_decisions_that_wait_to_be_archived_go_and_others_stay(stage, erase):
    sqs = stage.client("sqs")
    queue = sqs.get_queue_url(QueueName=stage.unsent_decisions)["QueueUrl"]
    for tenant, customer in (("acme", "ann"), ("acme", "bo"), ("zoo", "ann"), ("acme", None)):
        record = DecisionRecord(
            schema_version=1,
            decision_id="d",
            decision="nudge",
            tenant=tenant,
            at=EARLIER,
            model_version="1",
            run="r",
            customer_id=customer,
        )
        sqs.send_message(QueueUrl=queue, MessageBody=encode_record(record).decode())
    sqs.send_message(QueueUrl=queue, MessageBody="no decision")
    assert erase("ann").receipt.unsent_decisions == 1
    left = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10)["Messages"]
    assert len(left) == 4
    assert not any('"acme"' in m["Body"] and '"ann"' in m["Body"] for m in left)


def prepared(stage: MotoStage, run: str) -> None:
    for part in ("prepared/customers.npy", "evaluation/golden.json"):
        key = f"tenants/acme/runs/{run}/{part}"
        stage.client("s3").put_object(Bucket=stage.bucket, Key=key, Body=b"x")


def test_prepared_arrays_go_but_of_pictures_and_of_runs_that_go_on(stage, erase):
    going_on = "recommender-20260101t000000-aaaaaa"
    for run in (going_on, "nudge-policy-20260101t000000-bbbbbb", "image-model-20260101t000000-c"):
        prepared(stage, run)
    client = stage.client("stepfunctions")
    machine = stage.machine_arn("train-recommender")
    for tenant, run in (("acme", going_on), ("zoo", "recommender-20260101t000000-dddddd")):
        client.start_execution(
            stateMachineArn=machine, name=run, input=json.dumps({"tenant": tenant})
        )
    found = erase("ann")
    assert (found.receipt, found.waiting) == (None, [going_on])
    runs = {k.split("/")[3] for k in objects(stage) if "/prepared/" in k}
    assert runs == {going_on, "image-model-20260101t000000-c"}
    client.stop_execution(executionArn=stage.execution_arn("train-recommender", going_on))
    assert erase().receipt.deleted == {"runs": 1}
    assert {k.split("/")[3] for k in objects(stage) if "/golden" in k} > runs - {going_on}


def test_what_s3_does_not_delete_is_no_finished_erasure(stage, erase):
    """S3 says so within an answer that is no error."""

    class Keeping:
        def __getattr__(self, name: str) -> Any:
            return getattr(stage.client("s3"), name)

        def delete_objects(self, **_: Any) -> dict[str, Any]:
            return {"Errors": [{"Key": "k", "Code": "AccessDenied", "Message": "Access Denied"}]}

    class KeepingStage(MotoStage):
        def client(self, service: str) -> Any:
            return Keeping() if service == "s3" else stage.client(service)

    prepared(stage, "recommender-20260101t000000-aaaaaa")
    with pytest.raises(ErasureError, match="k and 0 more objects cannot be deleted: Access Denied"):
        erase("ann", on=KeepingStage(stage.name, stage.region, stage.account, stage.configuration))
    assert list_receipts(stage, "acme") == []
    assert erase().receipt.deleted == {"runs": 1}


def test_a_receipt_says_what_was_done_and_nothing_of_whom(stage, erase):
    archive(stage, "interactions", view("customer-ann"))
    receipt = erase("customer-ann").receipt
    [(key, body)] = [(k, b) for k, b in objects(stage).items() if "/erasures/" in k]
    assert key == f"tenants/acme/erasures/{receipt.id}.json"
    assert b"ann" not in body
    assert list_receipts(stage, "acme") == [receipt]
    assert receipt.customers == dict(suppressions.read(stage, "acme").erased)
    assert erase().receipt is None


def test_an_import_leaves_out_who_was_erased_and_says_so(stage, erase, tmp_path):
    folder = shop(tmp_path / "shop")
    erase("c03")
    [imported] = data.import_datasets(stage, folder, tenant="acme")
    assert holders(stage, "c03") == []
    assert (imported.profile["suppressed"], imported.profile["customers"]) == (4, 24)
    [again] = data.import_datasets(stage, folder, tenant="acme")
    assert again.unchanged


def test_who_is_erased_during_an_import_is_not_in_it_afterwards(stage, erase, tmp_path):
    told: list[str] = []

    def progress(what: str, share: float) -> None:
        if what == "writing" and not told:
            told.append(what)
            erase("c03")

    data.import_datasets(stage, shop(tmp_path / "shop"), tenant="acme", progress=progress)
    assert told
    assert holders(stage, "c03") == []


def test_a_profile_that_others_write_is_emptied_all_the_same(stage):
    profiles = DynamoProfiles(stage.profiles_table, "acme", client=stage.client("dynamodb"))
    profiles.write("ann", Stored(), Stored(Profile(), 1))
    erasures.forget(stage, "acme", "ann", at=NOW)
    erasures.forget(stage, "acme", "ann", at=NOW)
    assert profiles.read("ann").revision == 2


def test_an_empty_id_is_refused(stage, erase):
    with pytest.raises(ErasureError, match="no customer's id"):
        erase("")


def test_who_asked_under_a_blank_id_holds_up_nobody(stage, erase):
    """Regression: `erase --pending` refused all who waited."""
    archive(stage, "erasures", row("ann"), row(" "))
    archive(stage, "interactions", view("ann"), view("bo"))
    wanted = erasures.pending(stage, "acme")
    assert erasures.erase(
        stage, "acme", wanted, progress=_silent, clocks=clocks_of_nobody()
    ).receipt
    assert holders(stage, "ann") == holders(stage, " ") == []


def test_s3_that_refuses_ends_the_erasure(stage, erase):
    archive(stage, "interactions", view("ann"), view("bo"))
    refused = ClientError({"Error": {"Code": "AccessDenied"}}, "PutObject")
    with pytest.raises(ClientError, match="AccessDenied"):
        erase("ann", on=faulty(stage, refused, after=0))


def test_the_list_that_training_reads_is_the_one_written(stage, erase):
    erase("ann")
    rows = pd.DataFrame({"customer_id": ["ann", "bo"]})
    kept = without_suppressed(rows, suppressions.read(stage, "acme"), time=None)
    assert kept["customer_id"].tolist() == ["bo"]
