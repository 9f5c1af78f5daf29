"""The audit of the load test notices what it is there to notice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.benchmarks.nudges_under_load import CAP, Counts, compare, questions

AT = datetime(2026, 11, 25, 12, tzinfo=UTC)


def answer(number: int, action: str = "app-push", *, degraded: bool = False) -> dict[str, Any]:
    moment = (AT + timedelta(seconds=number)).isoformat()
    return {"action": action, "decided_at": moment, "degraded": degraded}


def contacts(*numbers: int) -> list[tuple[str, datetime]]:
    return [("app-push", AT + timedelta(seconds=number)) for number in numbers]


@pytest.mark.parametrize(
    ("stored", "answered", "wrong"),
    [
        ((0, 1), [answer(0), answer(1), answer(2, "none")], {}),
        ((0,), [answer(0), answer(1)], {"lost_contacts": 1}),
        ((0, 1), [answer(0)], {"surplus_contacts": 1}),
        ((0, 0), [answer(0)], {"surplus_contacts": 1}),
        ((5,), [answer(0)], {"lost_contacts": 1, "surplus_contacts": 1}),
        (range(CAP + 1), [answer(n) for n in range(CAP + 1)], {"over_the_cap": 1}),
        ((0,), [answer(0), answer(1, degraded=True)], {}),
    ],
)
def test_table_and_answers_are_compared_contact_by_contact(
    stored: Any, answered: list[dict[str, Any]], wrong: dict[str, int]
) -> None:
    counts = Counts()
    compare(counts, contacts(*stored), answered)
    names = ("lost_contacts", "surplus_contacts", "over_the_cap")
    assert {name: getattr(counts, name) for name in names if getattr(counts, name)} == wrong
    assert counts.wrong == sum(wrong.values())


def test_every_question_is_asked_and_one_in_a_hundred_twice() -> None:
    asked = questions(500, seed=0)
    assert len(set(asked)) == 500
    assert len(asked) == 505
    assert asked != sorted(asked)
