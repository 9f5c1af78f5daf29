"""Records of the stream into profiles: the good ones land, each of the others is a dead letter."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from typing import Any

import pytest

from inference.archive import Row, Tables, parquet
from inference.dead_letters import DeadLetter
from inference.event_contracts import ProductChange
from inference.handlers.next_best_product import Service
from inference.handlers.record_events import Recorder
from inference.live_products import ProductStoreError
from inference.nudge import Nudge
from inference.nudge_service import NudgeService
from inference.profiles import (
    ProfileChangedError,
    ProfileFullError,
    ProfileStoreError,
    Stored,
)
from tests.unit.inference import small_model, small_policy

NOW = small_model.NOW
SEEN = {"product_id": "dates", "event": "view", "timestamp": NOW.isoformat()}


class Table:
    """Profiles of all customers; the first `busy` writes find that another came first."""

    def __init__(self, *, busy: int = 0, error: Exception | None = None) -> None:
        self.stored: dict[str, Stored] = {}
        self._busy, self._error = busy, error

    def read(self, customer_id: str) -> Stored:
        return self.stored.get(customer_id, Stored())

    def read_many(self, customer_ids: Iterable[str]) -> dict[str, Stored]:
        """All but the last: DynamoDB may leave some out."""
        return {name: self.read(name) for name in list(customer_ids)[:-1]}

    def write(self, customer_id: str, seen: Stored, new: Stored) -> None:
        if self._error:
            raise self._error
        self._busy -= 1
        if self._busy >= 0:
            raise ProfileChangedError("busy")
        self.stored[customer_id] = new

    def record(self, customer_id: str, seen: Stored, change: Any) -> None:
        raise AssertionError("no decision of this test counts")


class Bucket:
    """Rows by tenant and table, as often as they were written."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.rows: dict[tuple[str, str], list[Row]] = {}
        self._error = error

    def write(self, tenant: str, tables: Tables, *, source: str) -> list[str]:
        if self._error:
            raise self._error
        for table, rows in tables.items():
            parquet(rows, table=table)
            self.rows.setdefault((tenant, table), []).extend(rows)
        return [source]


def view(product_id: str, *, customer_id: str = "c-1", event_id: str = "e-1") -> bytes:
    head = {"schema_version": 1, "event_id": event_id, "tenant": "acme", "type": "interaction"}
    fields = {"customer_id": customer_id, "product_id": product_id, "event": "view"}
    return json.dumps({**head, **fields, "timestamp": NOW.isoformat()}).encode()


class Products:
    """Which products changed, by tenant."""

    def __init__(self, *, error: Exception | None = None) -> None:
        self.changed: list[str] = []
        self._error = error

    def record(self, event: ProductChange) -> None:
        if self._error:
            raise self._error
        self.changed.append(event.product_id)


def record(
    table: Table,
    *records: bytes,
    bucket: Bucket | None = None,
    products: Products | None = None,
) -> list[DeadLetter]:
    buried: list[DeadLetter] = []
    known = products or Products()
    recorder = Recorder(
        bucket or Bucket(), lambda tenant: table, lambda tenant: known, buried.append
    )
    recorder.record(records, now=NOW, source="shard-0")
    return buried


def test_a_bad_record_is_a_dead_letter_and_the_others_land() -> None:
    table = Table()
    bad = view("dates").replace(b'"view"', b"7")
    buried = record(table, view("dates"), b"{", bad, view("eggs", customer_id="c-2"))
    assert [(letter.path, base64.b64decode(letter.record)) for letter in buried] == [
        ("$", b"{"),
        ("$.event", bad),
    ]
    assert {name: len(s.interactions) for name, s in table.stored.items()} == {"c-1": 1, "c-2": 1}


def test_what_is_accepted_is_archived_under_its_tenant_and_what_is_not_is_not() -> None:
    bucket = Bucket()
    other = view("eggs", event_id="e-2").replace(b'"acme"', b'"zoo"')
    record(Table(), view("dates"), b"{", other, bucket=bucket)
    [kept], [others] = bucket.rows[("acme", "interactions")], bucket.rows[("zoo", "interactions")]
    assert (kept["event_id"], kept["product_id"], kept["timestamp"]) == ("e-1", "dates", NOW)
    assert (others["event_id"], others["product_id"]) == ("e-2", "eggs")


def test_a_profile_holds_nothing_that_the_archive_does_not() -> None:
    table, bucket = Table(), Bucket(error=OSError("no bucket"))
    with pytest.raises(OSError, match="no bucket"):
        record(table, view("dates"), bucket=bucket)
    assert table.stored == {}
    bucket = Bucket()
    with pytest.raises(ProfileStoreError):
        record(Table(error=ProfileStoreError("down")), view("dates"), bucket=bucket)
    assert len(bucket.rows) == 1


def test_a_batch_that_comes_twice_counts_once() -> None:
    table = Table()
    for _ in range(2):
        record(table, view("dates"), view("eggs", event_id="e-2"), view("dates"))
    assert len(table.read("c-1").interactions) == 2
    assert table.read("c-1").revision == 1


def test_a_profile_written_meanwhile_is_read_again() -> None:
    table = Table(busy=3)
    record(table, view("dates"))
    assert len(table.read("c-1").interactions) == 1
    with pytest.raises(ProfileStoreError, match="8 times"):
        record(Table(busy=100), view("dates"))


def test_a_table_that_does_not_answer_fails_the_batch_but_a_full_profile_does_not() -> None:
    with pytest.raises(ProfileStoreError, match="did not answer"):
        record(Table(error=ProfileStoreError("did not answer")), view("dates"))
    buried = record(Table(error=ProfileFullError("too large")), view("dates"))
    assert [letter.error for letter in buried] == ["too large"]


def test_a_reward_without_a_customer_and_a_product_are_in_no_profile() -> None:
    table, products = Table(), Products()
    head = {"schema_version": 1, "event_id": "e", "tenant": "acme", "timestamp": NOW.isoformat()}
    others = [
        {"type": "reward", "decision_id": "d-1", "reward": 1.0},
        {"type": "reward", "customer_id": "c-1", "reward": 1.0, "action": "mail"},
        {"type": "product", "product_id": "dates", "available": False},
    ]
    records = [json.dumps({**head, **other}).encode() for other in others]
    assert record(table, *records, products=products) == []
    assert (list(table.stored), products.changed) == (["c-1"], ["dates"])
    with pytest.raises(ProductStoreError):
        record(table, *records, products=Products(error=ProductStoreError("did not answer")))
    assert [known.action for known in table.read("c-1").profile.conversions] == ["mail"]


def ask(table: Table | None, **request: Any) -> dict[str, Any]:
    service = Service(small_model.recommender(), "acme", "run-1", "7", profiles=table)
    return service.answer({"limit": 1, **request}, now=NOW, decision_id="d-1")


def test_a_view_changes_the_customers_next_answer() -> None:
    table = Table()
    before = ask(table, customer_id="c-1")["products"]
    record(table, view("dates"))
    after = ask(table, customer_id="c-1")["products"]
    assert after == ask(None, history=[SEEN])["products"]
    assert after != before


def test_an_answer_says_where_the_history_was_found() -> None:
    """Regression: a customer who was only imported got the trend, and nothing said why."""
    table = Table()
    assert ask(table, customer_id="c-1")["history_from"] is None
    record(table, view("dates"))
    assert ask(table, customer_id="c-1")["history_from"] == "profile"
    assert ask(table, customer_id="c-1", history=["eggs"])["history_from"] == "request"
    assert ask(table, customer_id="c-1", now=NOW.isoformat())["history_from"] is None


def test_a_reward_cools_its_action_down() -> None:
    actions = [{"action": "banner", "cooldown_days": 1}, {"action": "none"}]
    policy = small_policy.policy(actions=actions, coefficients=small_policy.COEFFICIENTS[1:])
    table, request = Table(), {"customer_id": "c-1", "context": {"age": 30}}
    service = NudgeService(Nudge(policy, tenant="acme"), "run-1", "7", profiles=table)

    def excluded(number: int) -> list[tuple[str, str]]:
        found = service.answer(
            {**request, "now": NOW.isoformat()}, now=NOW, decision_id=f"d-{number}"
        )
        return [(left["action"], left["rule"]) for left in found["excluded"]]

    assert excluded(1) == []
    event = {"type": "reward", "customer_id": "c-1", "action": "banner", "reward": 0.5}
    head = {"schema_version": 1, "event_id": "e", "tenant": "acme", "timestamp": NOW.isoformat()}
    record(table, json.dumps({**head, **event}).encode())
    assert excluded(2) == [("banner", "cooldown")]


def test_a_history_in_the_request_wins_and_a_replay_is_of_the_request_alone() -> None:
    table = Table()
    record(table, view("dates"))
    for request in ({"history": ["eggs"]}, {"now": NOW.isoformat()}):
        asked = ask(table, customer_id="c-1", **request)
        assert asked["products"] == ask(None, **request)["products"]


def test_a_table_that_does_not_answer_degrades_the_answer() -> None:
    class Silent(Table):
        def read(self, customer_id: str) -> Stored:
            raise ProfileStoreError("did not answer")

    found = ask(Silent(), customer_id="c-1")
    assert found["degraded"]
    assert found["products"] == ask(None)["products"]
    assert not ask(Silent(), history=["dates"], customer_id="c-1")["degraded"]
