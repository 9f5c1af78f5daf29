"""A simulated week, what the loop's story says, and how it is shown."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from inference.archive import parquet
from inference.event_contracts import decode_event
from pipelines.demo import nudges
from pipelines.demo.archived import Archived
from pipelines.demo.loop import Cycle, Story
from pipelines.demo.loop_picture import draw_story, render_story, sum_up
from pipelines.demo.weeks import Week, live_through, logged_of, rewards_of
from pipelines.errors import RunError

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
AUDIENCE = nudges.simulate_audience(customers=900)
ROWS = np.arange(300, 900)


def always_the_last(request: Mapping[str, Any]) -> dict[str, Any]:
    """A Lambda that takes the last action that consent allows."""
    agrees = request["profile"]["consents"]
    can = [a["action"] for a in nudges.ACTIONS if agrees.get(a.get("channel"), True)]
    return {
        "decision_id": f"{request['decision_key']}/{request['customer_id']}",
        "action": can[-1],
        "propensity": 1.0,
        "propensities": {name: float(name == can[-1]) for name in can},
        "decided_at": NOW.isoformat(),
    }


def week(key: str = "week-1") -> Week:
    return live_through(AUDIENCE, ROWS, always_the_last, key=key, rng=np.random.default_rng(3))


def test_customers_react_to_what_the_lambda_chose_for_them() -> None:
    found = week()
    chosen = np.array([AUDIENCE.eligible[row].nonzero()[0][-1] for row in ROWS])
    assert np.array_equal(found.actions, chosen)
    expected = AUDIENCE.values[ROWS, chosen].mean()
    assert found.earned == pytest.approx(expected, abs=0.05)
    assert np.array_equal(found.rewards, week().rewards)


def test_what_came_of_a_week_is_sent_as_reward_events() -> None:
    found = week()
    sent = [
        decode_event(json.dumps(event).encode(), now=NOW)
        for event in rewards_of(found, tenant="loop-1")
    ]
    expected = {
        answer["decision_id"]: reward
        for answer, reward in zip(found.answers, found.rewards, strict=True)
        if reward
    }
    assert {event.decision_id: event.reward for event in sent} == expected
    assert len({event.event_id for event in sent}) == len(sent) > 50


def test_what_waits_in_the_lambda_is_not_waited_for() -> None:
    answers = [
        {"decision_id": "a", "logged": True},
        {"decision_id": "b", "logged": False},
        {"decision_id": "c"},
    ]
    found = Week(ROWS[:3], answers, np.zeros(3, int), np.zeros(3))
    assert logged_of(found) == ["a", "c"]


class Objects:
    """An archive that a batch comes to with every look."""

    def __init__(self, *batches: list[str]) -> None:
        rows = [[{"event_id": n, "timestamp": NOW} for n in batch] for batch in batches]
        self.batches, self.looks, self.reads = [parquet(r, table="rewards") for r in rows], 0, 0

    def client(self, service: str) -> Objects:
        return self

    bucket = "b"

    def get_paginator(self, name: str) -> Objects:
        return self

    def paginate(self, **given: str) -> list[dict[str, Any]]:
        self.looks += 1
        count = min(self.looks, len(self.batches))
        return [{"Contents": [{"Key": str(n)} for n in range(count)]}]

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        self.reads += 1
        return {"Body": io.BytesIO(self.batches[int(Key)])}


def test_the_week_ends_when_the_archive_has_all_of_it() -> None:
    objects, slept = Objects(["a"], ["b", "a"], ["c"]), []
    Archived(objects, "loop-1", "rewards").wait_for(["a", "c"], sleep=slept.append)  # type: ignore[arg-type]
    assert (objects.looks, objects.reads, len(slept)) == (3, 3, 2)


def test_what_never_comes_ends_the_wait() -> None:
    times = iter(range(0, 1000, 50))
    archived = Archived(Objects(["a"]), "loop-1", "rewards")  # type: ignore[arg-type]
    with pytest.raises(RunError, match="1 rewards did not reach the archive"):
        archived.wait_for(["a", "z"], sleep=lambda s: None, clock=lambda: next(times))


def test_progress_counts_every_customer() -> None:
    heard: list[int] = []
    rng = np.random.default_rng(3)
    live_through(AUDIENCE, ROWS, always_the_last, key="k", rng=rng, seen=heard.append)
    assert heard == list(range(1, len(ROWS) + 1))


@pytest.mark.parametrize("answer", [{"error": {"status": 400}}, {"action": "fax"}])
def test_an_answer_that_is_none_ends_the_week(answer: dict[str, Any]) -> None:
    with pytest.raises(RunError, match="expected one of"):
        live_through(AUDIENCE, ROWS, lambda r: answer, key="k", rng=np.random.default_rng(0))


def cycle(number: int, *, live: float, estimate: float, truth: float) -> Cycle:
    interval = {"estimate": estimate, "low": estimate - 0.02, "high": estimate + 0.02}
    told = {"week": number, "live": live, "earned": live, "run": f"run-{number}"}
    return Cycle(**told, outcome="released", **interval, truth=truth)  # type: ignore[arg-type]


STORY = Story(
    uniform=0.1,
    best_action="app-push",
    best_constant=0.15,
    oracle=0.3,
    cycles=(
        cycle(1, live=0.1, estimate=0.2, truth=0.21),
        cycle(2, live=0.21, estimate=0.3, truth=0.25),
    ),
    final=0.25,
)


def test_a_story_tells_the_gap_closed_and_how_often_the_interval_held() -> None:
    assert STORY.gap_closed == pytest.approx(0.75)
    assert [c.holds for c in STORY.cycles] == [True, False]
    assert STORY.held == 1
    assert any("75%" in line for line in sum_up(STORY))
    assert any("in 1 of 2 cycles" in line for line in sum_up(STORY))


def test_the_table_has_estimate_interval_and_truth_of_every_week() -> None:
    console = Console(file=io.StringIO(), width=120)
    console.print(render_story(STORY))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1 + len(STORY.cycles)
    for line, words in ((lines[1], ("[0.1800, 0.2200]", "yes")), (lines[2], ("0.2500", "no"))):
        assert words[0] in line
        assert line.rstrip().endswith(words[1])


def test_the_picture_is_drawn_where_matplotlib_is(tmp_path: Any) -> None:
    pytest.importorskip("matplotlib")
    drawn = draw_story(STORY, tmp_path / "loop.png")
    assert drawn is not None
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_without_matplotlib_nothing_is_written(tmp_path: Any, monkeypatch: Any) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert draw_story(STORY, tmp_path / "loop.png") is None
    assert not (tmp_path / "loop.png").exists()
