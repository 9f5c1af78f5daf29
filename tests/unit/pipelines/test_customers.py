"""What is held on one customer: everything, of nobody else, and from where; on moto."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner
from typer.main import get_command

from inference.archive import Archive
from inference.dynamo_profiles import DynamoProfiles
from inference.profiles import Answered, Contact, Profile, Seen, Stored
from pipelines import customers, data, suppressions
from pipelines.cli import app
from pipelines.commands.customers import _tell, render
from pipelines.console import console
from pipelines.erased_objects import Pass
from pipelines.erasures import Erased
from pipelines.errors import CustomerError
from pipelines.receipts import Receipt
from tests.unit.pipelines.emulated import MotoStage, moto_stage
from tests.unit.pipelines.test_erasures import letter, shop

NOW = datetime(2026, 11, 24, tzinfo=UTC)
EARLIER = NOW - timedelta(days=30)


@pytest.fixture
def stage() -> Iterator[MotoStage]:
    with moto_stage() as found:
        yield found


def exported(stage: MotoStage, customer: str, **more: Any) -> dict[str, Any]:
    silent = lambda what, number, count: None  # noqa: E731
    found = customers.export(stage, "acme", customer, now=NOW, progress=silent, **more)
    return json.loads(json.dumps(found, default=str))


def archive(stage: MotoStage, table: str, *rows: dict[str, Any], tenant: str = "acme") -> None:
    Archive(stage.bucket, s3=stage.client("s3")).write(tenant, {table: rows}, source="test")


def reward(name: str, **more: Any) -> dict[str, Any]:
    return {"event_id": name, "timestamp": EARLIER, "reward": 1.0, **more}


def known(stage: MotoStage, customer: str) -> Stored:
    answer = Answered(EARLIER, "digest", b'{"action": "mail"}')
    stored = Stored(
        Profile(
            consents={"email": True, "push": {"offers": False}},
            attributes={"town": "Ulm"},
            contacts=[Contact("mail", EARLIER)],
        ),
        revision=1,
        answers={"d-1": answer},
        interactions=[Seen(EARLIER + timedelta(n), f"e{n}", f"p{n}", "view") for n in range(12)],
    )
    client = stage.client("dynamodb")
    DynamoProfiles(stage.profiles_table, "acme", client=client).write(customer, Stored(), stored)
    return stored


def test_the_profile_is_exported_with_the_answers_that_were_given(stage):
    known(stage, "ann")
    profile = exported(stage, "ann")["profile"]
    assert profile["from"] == stage.profiles_table
    assert profile["profile"]["consents"] == {"email": True, "push": {"offers": False}}
    assert profile["answers"]["d-1"]["response"] == {"action": "mail"}
    assert exported(stage, "bo")["profile"] is None


def test_rows_of_the_customer_are_exported_with_their_objects_and_nobody_elses(stage, tmp_path):
    [imported] = data.import_datasets(stage, shop(tmp_path / "shop"), tenant="acme")
    view = {"product_id": "p", "event": "view", "timestamp": EARLIER}
    for name, tenant in (("c03", "acme"), ("c04", "acme"), ("c03", "zoo")):
        row = {**view, "event_id": f"{name}{tenant}", "customer_id": name}
        archive(stage, "interactions", row, tenant=tenant)
    held = exported(stage, "c03")["held"]
    counts = {h["from"].split("/")[5] + "/" + h["table"]: len(h["rows"]) for h in held}
    assert counts == {
        "datasets/customers": 1,
        "datasets/interactions": 4,
        "datasets/rejected": 1,
        "events/interactions": 1,
    }
    assert {row["customer_id"] for h in held for row in h["rows"]} == {"c03"}
    assert all(f"/{imported.dataset_id}/" in h["from"] for h in held if "/datasets/" in h["from"])


def test_a_reward_that_names_only_a_decision_is_of_who_was_decided_for(stage):
    for name, customer in (("d-1", "ann"), ("d-2", "bo")):
        archive(stage, "decisions", {"decision_id": name, "at": EARLIER, "customer_id": customer})
    archive(stage, "rewards", reward("r-1", decision_id="d-1"), reward("r-2", decision_id="d-2"))
    archive(stage, "rewards", reward("r-3", decision_id="d-1", customer_id="bo"))
    held = {h["table"]: h["rows"] for h in exported(stage, "ann")["held"]}
    assert [row["decision_id"] for row in held["decisions"]] == ["d-1"]
    assert [row["event_id"] for row in held["rewards"]] == ["r-1"]


def test_older_data_sets_are_exported_when_all_are_wanted(stage, tmp_path):
    data.import_datasets(stage, shop(tmp_path / "a"), tenant="acme", now=NOW)
    later = NOW + timedelta(days=1)
    data.import_datasets(stage, shop(tmp_path / "b", customers=30), tenant="acme", now=later)
    newest = {h["from"] for h in exported(stage, "c03")["held"]}
    every = {h["from"] for h in exported(stage, "c03", every_dataset=True)["held"]}
    assert (len(newest), len(every)) == (3, 6)
    assert newest < every


def test_events_that_could_not_be_recorded_are_exported_and_stay(stage):
    letter(stage, b'{"tenant": "acme", "customer_id": "ann", "colour": "red"}')
    letter(stage, b'{"tenant": "zoo", "customer_id": "ann"}')
    for _ in range(2):
        [held] = exported(stage, "ann")["held"]
        assert (held["table"], len(held["rows"])) == ("dead letters", 1)


def test_an_export_tells_that_a_customer_was_erased(stage):
    suppressions.suppress(stage, "acme", {"ann": EARLIER})
    assert exported(stage, "ann")["erased_at"] == EARLIER.isoformat()
    assert exported(stage, "bo")["erased_at"] is None


def test_an_export_that_would_leave_something_out_is_refused(stage):
    key = "tenants/acme/events/consents/day=2026-01-01/x.parquet"
    stage.client("s3").put_object(Bucket=stage.bucket, Key=key, Body=b"PAR1 no more")
    with pytest.raises(CustomerError, match=f"{key} cannot be read"):
        exported(stage, "ann")


def test_a_profile_is_shown_the_newest_first(stage):
    with console.capture() as shown:
        console.print(render(known(stage, "ann")))
    text = shown.get()
    assert "email yes, push no for offers" in text
    assert "town Ulm" in text
    assert text.index("view p11") < text.index("view p2")
    assert "view p1\n" not in text
    assert "and 2 before" in text


@pytest.mark.parametrize("command", ["show", "export", "erase"])
def test_a_blank_id_is_refused_before_anything_is_asked(command):
    done = CliRunner().invoke(get_command(app), ["customers", command, "", "--tenant", "acme"])
    assert isinstance(done.exception, CustomerError)
    assert "'' is no customer's id" in str(done.exception)
    assert not done.output


@pytest.mark.parametrize(("rows", "doubted"), [(0, True), (3, False)])
def test_an_erasure_that_found_nobody_says_so(rows, doubted):
    done = Pass(rows=Counter({"events": rows}))
    receipt = Receipt(id="r-1", finished_at=NOW, customers={"digest": NOW})
    with console.capture() as shown:
        _tell(Erased(receipt, done), "acme")
    assert ("look at the spelling" in shown.get()) is doubted
    assert "1 erased; receipt r-1" in shown.get()
