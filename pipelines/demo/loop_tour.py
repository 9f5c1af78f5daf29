"""What `nextbest demo loop` does and prints: every week of the loop, then table and picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from pipelines import stacks
from pipelines.demo.loop import Loop, Story, new_tenant
from pipelines.demo.loop_picture import NO_PICTURE, draw_story, render_story, sum_up
from pipelines.demo.tour import Steps
from pipelines.stage import Stage
from pipelines.workspace import Workspace


def tour_loop(
    console: Console,
    open_stage: Callable[[], Stage],
    *,
    weeks: int,
    customers: int,
    seed: int,
    picture: Path,
) -> Story:
    """Run the loop for a new tenant. Raises an error of the tree when a step falls short."""
    steps = Steps(console)

    def say(line: str) -> None:
        console.print(f"  {line}", style="dim", markup=False)

    with steps.step("Start the cloud, deploy nextbest, add a tenant for this loop"):
        stage = open_stage()
        stacks.deploy(stage, progress=say)
        tenant = new_tenant(stage, progress=say)
    loop = Loop(Workspace(stage, tenant), weeks=weeks, customers=customers, seed=seed)
    with steps.step("Learn a first policy from a pilot, and schedule the retraining"):
        loop.begin(say)
    story = loop.story(tuple(_weeks(loop, steps, say)))
    _show(story, console, picture)
    console.print(steps.table())
    for line in (
        f"nextbest models list --tenant {tenant} --kind nudge-policy",
        f"nextbest runs show {story.cycles[-1].run}",
        f"nextbest tenant remove {tenant}",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
    return story


def _weeks(loop: Loop, steps: Steps, say: Callable[[str], None]) -> Iterator:
    for number in range(1, loop.weeks + 1):
        with steps.step(f"Week {number} of {loop.weeks}"), _counted(steps.console, loop) as seen:
            cycle = loop.cycle(number, seen=seen, say=say)
            say(
                f"{cycle.outcome}: estimated {cycle.estimate:.4f} [{cycle.low:.4f}, "
                f"{cycle.high:.4f}], truly {cycle.truth:.4f}"
            )
            yield cycle


@contextmanager
def _counted(console: Console, loop: Loop) -> Iterator[Callable[[int], None]]:
    """A line that says how many customers have been answered."""
    with console.status("") as status:
        yield lambda count: status.update(f"[dim]{count:,} of {loop.customers:,} customers[/]")


def _show(story: Story, console: Console, picture: Path) -> None:
    console.print(render_story(story))
    for line in sum_up(story):
        console.print(line, markup=False)
    drawn = draw_story(story, picture)
    console.print(f"drawn: {drawn}" if drawn else NO_PICTURE, markup=False, soft_wrap=True)
