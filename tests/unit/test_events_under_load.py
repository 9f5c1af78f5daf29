"""The audit of the load test notices what it is there to notice, and its events are as it says."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from inference.customer_events import merged
from inference.errors import BadRequestError
from inference.event_contracts import AnyEvent, decode_event
from inference.event_rows import rows_of
from inference.profiles import Stored
from tests.benchmarks import event_load
from tests.benchmarks.event_load import Load
from tests.benchmarks.events_under_load import (
    Counts,
    compare_decisions,
    compare_letters,
    compare_rows,
    plain,
)

END = datetime(2026, 11, 25, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def load() -> Load:
    return event_load.simulate(4_000, tenants=["a", "b"], products=["p", "q"], end=END, seed=0)


def decoded(records: list[bytes]) -> list[AnyEvent]:
    found = []
    for record in records:
        try:
            found.append(decode_event(record, now=END))
        except BadRequestError:
            continue
    return found


def test_a_load_is_good_but_for_a_hundredth_and_a_hundredth_comes_twice(load: Load) -> None:
    assert (len(load.records), len(load.bad), load.duplicates) == (4_000, 40, 40)
    assert 0.04 < load.displaced / len(load.records) < 0.06
    every = [*load.records, *load.last]
    events = decoded(every)
    assert len(every) - len(events) == len(load.bad)
    assert {event.event_id for event in events} == load.good.keys()
    assert len(events) - len(load.good) == load.duplicates
    times = [event.timestamp for event in events]
    assert times != sorted(times)


def test_the_plain_reckoning_is_what_the_profiles_come_to(load: Load) -> None:
    stored: dict[event_load.Customer, Stored] = {}
    for event in decoded([*load.records, *load.last]):
        customer = event.tenant, str(getattr(event, "customer_id", None))
        if customer[1] != "None":
            stored[customer] = merged(stored.get(customer, Stored()), [event])
    expected = event_load.profiles_of(load.good.values())
    assert {customer: plain(found) for customer, found in stored.items()} == expected
    assert any(found["erased_at"] for found in expected.values())


def archived(load: Load) -> dict[str, list[dict[str, Any]]]:
    """The rows of the first tenant by table, as they are written."""
    events = decoded([*load.records, *load.last])
    return rows_of(events).get("a", {})


def read_back(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def test_every_row_of_the_archive_is_as_reckoned(load: Load) -> None:
    counts, expected = Counts(), event_load.rows_of(load.good.values())
    for table, rows in archived(load).items():
        compare_rows(counts, map(read_back, rows), expected["a", table])
    assert counts.wrong == 0
    assert counts.archived_events == sum(len(t) for (name, _), t in expected.items() if name == "a")
    assert counts.archived_twice > 0


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda rows: rows[1:], {"events_lost": 1}),
        (lambda rows: [{**rows[0], "product_id": "x"}, *rows[1:]], {"events_changed": 1}),
        (lambda rows: [*rows, {**rows[0], "event_id": "x"}], {"events_made_up": 1}),
        (lambda rows: [*rows, rows[0]], {}),
    ],
)
def test_a_row_that_is_lost_changed_or_made_up_is_noticed(
    load: Load, change: Any, wrong: dict[str, int]
) -> None:
    expected = event_load.rows_of(load.good.values())["a", "interactions"]
    once = {row["event_id"]: read_back(row) for row in archived(load)["interactions"]}
    counts = Counts()
    compare_rows(counts, iter(change(list(once.values()))), expected)
    assert wrongs(counts) == wrong


def wrongs(counts: Counts) -> dict[str, int]:
    names = ("events_lost", "events_changed", "events_made_up", "malformed_lost", "good_buried")
    names += ("decisions_lost", "decisions_changed")
    found = {name: getattr(counts, name) for name in names if getattr(counts, name)}
    assert counts.wrong == sum(found.values())
    return found


def test_letters_are_every_malformed_record_and_no_good_one(load: Load) -> None:
    bad = sorted(load.bad)
    for buried, wrong in (
        ([*bad, bad[0]], {}),
        (bad[1:], {"malformed_lost": 1}),
        ([*bad, load.last[0]], {"good_buried": 1}),
    ):
        counts = Counts()
        compare_letters(counts, buried, load)
        assert wrongs(counts) == wrong


def test_a_decision_that_is_lost_or_changed_is_noticed() -> None:
    shown = {"product_id": "p", "score": 1.0, "propensity": 1.0}
    answers = {"d": {"products": [shown]}}
    for rows, wrong in (
        ({"d": {"slots": [shown]}}, {}),
        ({}, {"decisions_lost": 1}),
        ({"d": {"slots": []}}, {"decisions_changed": 1}),
    ):
        counts = Counts()
        compare_decisions(counts, rows, answers)
        assert wrongs(counts) == wrong
