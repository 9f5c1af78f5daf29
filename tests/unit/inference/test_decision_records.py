"""What a decision's record says, on the stream and as a row of the archive."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from pyarrow import parquet as files

from inference.archive import parquet
from inference.archive_tables import TABLES
from inference.decision_records import (
    MAX_BYTES,
    DecisionRecord,
    decode_record,
    encode_record,
    of_similar,
    row_of,
)
from inference.errors import BadRequestError
from inference.handlers.next_best_product import Service
from inference.nudge import Nudge
from inference.nudge_service import NudgeService
from inference.profiles import InMemoryProfiles
from inference.visual_contracts import SimilarProduct, SimilarRequest, SimilarResponse
from tests.unit.inference import small_model, small_policy

NOW = small_model.NOW


class Log:
    """Keeps what it is given; says it is safe unless `down`."""

    def __init__(self, *, down: bool = False) -> None:
        self.records: list[DecisionRecord] = []
        self.down = down

    def put(self, record: DecisionRecord) -> bool:
        self.records.append(record)
        return not self.down


def ask(log: Log, **request: Any) -> dict[str, Any]:
    service = Service(small_model.recommender(), "acme", "run-1", "7", decision_log=log)
    return service.answer(request, now=NOW, decision_id="d-1")


def archived(record: DecisionRecord) -> dict[str, Any]:
    """The row that reads back after stream and archive."""
    row = row_of(decode_record(encode_record(record)))
    [found] = files.read_table(io.BytesIO(parquet([row], table="decisions"))).to_pylist()
    return found


def test_a_decision_about_products_is_logged_with_its_slots() -> None:
    log = Log()
    answer = ask(log, customer_id="c-1", history=["dates"], limit=2, exclude_products=["x", "y"])
    [record] = log.records
    assert answer["logged"] is True
    found = archived(record)
    shown = [(p["product_id"], p["score"], p["propensity"]) for p in answer["products"]]
    assert [(s["product_id"], s["score"], s["propensity"]) for s in found["slots"]] == shown
    told = ("decision_id", "decision", "customer_id", "model_version", "run", "at", "degraded")
    who = ("d-1", "next-best-product", "c-1", "7", "run-1", NOW.astimezone(UTC), False)
    assert tuple(found[name] for name in told) == who
    assert json.loads(found["request"]) == {"exclude_products": 2, "history": 1, "limit": 2}
    assert found["action"] is None


def test_an_answer_says_where_its_decision_waits_and_where_none_is_kept() -> None:
    assert ask(Log(down=True), history=["dates"])["logged"] is False
    log = Log()
    assert ask(log, history=["dates"], now=NOW.isoformat())["logged"] is None
    assert "error" in ask(log, limit=0)
    assert log.records == []
    without = Service(small_model.recommender(), "acme", "run-1", "7")
    assert without.answer({}, now=NOW, decision_id="d")["logged"] is None


def nudges(log: Log, profiles: InMemoryProfiles | None = None) -> NudgeService:
    return NudgeService(
        Nudge(small_policy.policy(), tenant="acme"),
        run="run-1",
        version="7",
        profiles=profiles or InMemoryProfiles(),
        log=lambda record: None,
        decision_log=log,
    )


def test_a_nudge_is_logged_with_all_that_could_have_been_drawn() -> None:
    log = Log()
    asked = {"customer_id": "c-1", "context": {"recency": 3.0}}
    answer = nudges(log).answer(asked, now=NOW, decision_id="d-1")
    [record] = log.records
    found = archived(record)
    assert answer["logged"] is True
    assert {e["action"]: e["propensity"] for e in found["eligible"]} == answer["propensities"]
    rules = [(e["action"], e["rule"]) for e in answer["excluded"]]
    assert [(e["action"], e["reason"]) for e in found["exclusions"]] == rules
    assert (found["action"], found["propensity"]) == (answer["action"], answer["propensity"])
    assert found["holdout"] is answer["holdout"]
    assert json.loads(found["context"]) == {"recency": 3.0}
    assert (found["decision"], found["customer_id"], found["slots"]) == ("nudge", "c-1", None)


def test_a_key_asked_of_another_process_is_the_same_decision_logged_again() -> None:
    """Who answered first may have died between the table and the stream."""
    log, profiles = Log(), InMemoryProfiles()
    asked = {"customer_id": "c-1", "context": {"recency": 3.0}, "decision_key": "k"}
    first = nudges(log, profiles).answer(asked, now=NOW, decision_id="a")
    again = nudges(log, profiles)
    assert again.answer(asked, now=NOW, decision_id="b") == first
    assert again.answer(asked, now=NOW, decision_id="c") == first
    assert len(log.records) == 2
    assert row_of(log.records[0]) == row_of(log.records[1])


def test_look_alikes_are_logged_with_their_likeness_as_score() -> None:
    request = SimilarRequest(image="aGVsbG8=", limit=3, exclude_products=["x"])
    response = SimilarResponse(
        decision_id="d-1",
        model_version="7",
        run="run-1",
        tenant="acme",
        products=[SimilarProduct("p", 0.9), SimilarProduct("q", 0.5)],
        labels={},
        unknown_products=[],
        empty_reason=None,
    )
    found = archived(of_similar(request, response, at=NOW))
    slots = [(s["product_id"], s["score"], s["propensity"]) for s in found["slots"]]
    assert slots == [("p", 0.9, 1.0), ("q", 0.5, 1.0)]
    assert (found["decision"], found["customer_id"]) == ("similar-products", None)
    assert json.loads(found["request"]) == {"exclude_products": 1, "limit": 3}


def test_a_replayed_nudge_is_not_logged() -> None:
    log = Log()
    asked = {"customer_id": "c-1", "now": NOW.isoformat()}
    assert nudges(log).answer(asked, now=NOW, decision_id="d")["logged"] is None
    assert log.records == []


def record(**fields: Any) -> DecisionRecord:
    head = {"schema_version": 1, "decision_id": "d", "decision": "nudge", "tenant": "acme"}
    rest = {"at": NOW, "model_version": "7", "run": "run-1"}
    return DecisionRecord(**head, **rest, **fields)


def test_a_row_has_the_archives_columns() -> None:
    assert set(row_of(record())) == set(TABLES["decisions"].columns)


def test_what_the_caller_made_too_long_is_left_out_and_said() -> None:
    long = "x" * MAX_BYTES
    request = encode_record(record(request={"filter": long}, context={"a": 1}))
    context = encode_record(record(request={"limit": 1}, context={"a": long}))
    for line, kept in ((request, {"a": 1}), (context, None)):
        assert len(line) < 1000
        found = decode_record(line)
        assert found.context == kept
        assert found.request["shortened_from_bytes"] > MAX_BYTES


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"tenant": "No Tenant"}, "$.tenant"),
        ({"at": datetime(2026, 1, 1)}, "$.at"),
        ({"schema_version": 2}, "$.schema_version"),
        ({"colour": "red"}, "$"),
        ({"slots": [{"product_id": 1}]}, "$.slots[0].product_id"),
    ],
)
def test_a_record_that_breaks_the_contract_names_the_field(
    change: dict[str, Any], path: str
) -> None:
    plain = {**msgspec.to_builtins(record()), **change}
    with pytest.raises(BadRequestError) as caught:
        decode_record(msgspec.json.encode(plain))
    assert caught.value.path == path
