"""A simulated week, what the loop's story says, and how it is shown."""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from pipelines.demo import nudges
from pipelines.demo.loop import Cycle, Story
from pipelines.demo.loop_picture import draw_story, render_story, sum_up
from pipelines.demo.weeks import Week, live_through, table_of
from pipelines.errors import RunError
from training.nudge.tables import build_nudge_dataset

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


def test_a_week_becomes_rows_of_the_nudges_table() -> None:
    table = table_of(AUDIENCE, week())
    dataset = build_nudge_dataset(
        {"nudges": table, "actions": pd.DataFrame(nudges.ACTIONS)}, now=NOW
    )
    assert len(dataset.nudges) == len(ROWS)
    assert len(dataset.rejected) == 0
    assert dataset.nudges["decision_id"].is_unique
    assert set(dataset.nudges["customer_id"]) == {f"customer-{row}" for row in ROWS}
    assert len(dataset.context_columns) == len(AUDIENCE.context.columns)


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
