"""One week of the loop on the local stage: chance decides, the schedule learns and releases."""

import io

import pytest
from rich.console import Console

from pipelines.demo.loop_tour import tour_loop


def test_a_week_that_chance_decided_is_learned_from_and_valued_beside_the_truth(
    deployed_stage, tmp_path
):
    console = Console(file=io.StringIO(), width=120)
    story = tour_loop(
        console,
        lambda: deployed_stage,
        weeks=1,
        customers=900,
        seed=0,
        picture=tmp_path / "loop.png",
    )
    (week,) = story.cycles
    assert week.live == pytest.approx(story.uniform)  # the first policy really draws evenly
    assert story.uniform < story.best_constant < week.truth < story.oracle
    assert week.outcome == "released"
    assert story.final == pytest.approx(week.truth)
    # The draws follow from the run's name: one of twenty intervals misses, none by its own width.
    assert abs(week.estimate - week.truth) < week.high - week.low
    said = console.file.getvalue()
    assert f"held the truth in {int(week.holds)} of 1 cycle" in said
