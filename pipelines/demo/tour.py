"""What `make demo` does: a whole personalisation cloud, from a shop's data to live decisions.

Every step is what the command of the same name does; the tour fails when a step did not do
what it says. Called by `nextbest demo`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines import data, stacks
from pipelines.demo import one_kind
from pipelines.demo.first_day import tour_first_day
from pipelines.demo.nudge_tour import tour_nudges
from pipelines.demo.picture_tour import can_see, tour_pictures
from pipelines.demo.shop import write_shop
from pipelines.releases import DECISION_OF
from pipelines.runs import RunView
from pipelines.stage import IMAGE_MODEL, NUDGE_POLICY, RECOMMENDER, Stage
from pipelines.workspace import Run, Workspace

_ASK = {
    RECOMMENDER: "--limit 5",
    NUDGE_POLICY: "--customer you --consent email",
    IMAGE_MODEL: "--product PRODUCT",
}


@dataclass
class Steps:
    """Wall seconds of each step, printed as it goes and summed up at the end."""

    console: Console
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.console.print(f"[bold]{name}[/] …")
        began = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - began
        self.console.print(f"  done in {self.seconds[name]:.1f} s", style="dim")

    def table(self) -> Table:
        table = Table("step", "seconds", box=None, pad_edge=False)
        for name, seconds in self.seconds.items():
            table.add_row(name, f"{seconds:.1f}")
        table.add_row("in all", f"{sum(self.seconds.values()):.1f}")
        return table


def tour(
    console: Console,
    open_stage: Callable[[], Stage],
    *,
    tenant: str,
    source: Path | None,
    can_learn_pictures: Callable[[], bool] = can_see,
) -> None:
    """Take the visitor through; `source` is their own file, or None for the simulated shop.

    Raises an error of the tree when any step falls short.
    """
    can_learn = can_learn_pictures()
    if source is not None:
        one_kind.check_source(source, can_learn_pictures=can_learn)
    steps = Steps(console)
    with steps.step("Start the cloud on this machine"):
        stage = open_stage()
        console.print(f"  {stage.endpoint_url}")
    with steps.step("Deploy nextbest to it (CloudFormation) and add a tenant"):
        _deploy(stage, tenant, console)
    workspace = Workspace(stage, tenant)
    runs = (
        _tour_shop(workspace, steps, console)
        if source is None
        else _tour_own(workspace, source, steps, console, can_learn_pictures=can_learn)
    )
    kinds = [run.view.kind for run in runs] + ([NUDGE_POLICY] if source is None else [])
    _sum_up(console, steps, runs, kinds, tenant=tenant)


def _tour_shop(workspace: Workspace, steps: Steps, console: Console) -> list[Run]:
    """The simulated shop: its truth is known, so answers are held against it."""
    with steps.step("Import a simulated shop"), tempfile.TemporaryDirectory() as folder:
        shop = write_shop(Path(folder))
        _import(workspace, Path(folder), console)
    tour_pictures(workspace, shop, steps, console)
    run = _tour_kind(workspace, RECOMMENDER, steps, console)
    with steps.step("Recommend a product that came in today"):
        tour_first_day(workspace, shop, console)
    tour_nudges(workspace, steps, console)
    return [run]


def _tour_own(
    workspace: Workspace, source: Path, steps: Steps, console: Console, *, can_learn_pictures: bool
) -> list[Run]:
    """The visitor's own data: a model of every kind there is something for."""
    with steps.step(f"Import {source.name}"):
        found = _import(workspace, source, console)
        kinds = one_kind.learnable(found, console, can_learn_pictures=can_learn_pictures)
    return [_tour_kind(workspace, kind, steps, console) for kind in kinds]


def _tour_kind(workspace: Workspace, kind: str, steps: Steps, console: Console) -> Run:
    what = "" if kind == RECOMMENDER else f" the {kind}"
    with steps.step(f"Train, evaluate, gate and release{what} (Step Functions, SageMaker jobs)"):
        run = one_kind.train(workspace, kind, console)
    with steps.step("Ask the live Lambda for decisions"):
        one_kind.ask(workspace, run, console)
    return run


def _deploy(stage: Stage, tenant: str, console: Console) -> None:
    def say(line: str) -> None:
        console.print(f"  {line}", style="dim", markup=False)

    stacks.deploy(stage, progress=say)
    stacks.add_tenant(stage, tenant, progress=say)


def _import(workspace: Workspace, path: Path, console: Console) -> list[str]:
    """Import what is at `path`; the kinds of models that learn from it."""
    with console.status("") as status:
        found = data.import_datasets(
            workspace.stage,
            path,
            tenant=workspace.tenant,
            progress=lambda what, share: status.update(f"[dim]{escape(what)}, {share:.0%}[/]"),
        )
    console.print(f"  {', '.join(one_kind.counted(one.profile) for one in found)}", style="dim")
    return [one.kind for one in found]


def _sum_up(
    console: Console, steps: Steps, runs: list[Run], kinds: list[str], *, tenant: str
) -> None:
    console.print(steps.table())
    for run in runs:
        view: RunView = run.view
        jobs = ", ".join(
            f"{job.name.removeprefix(view.name + '-')} {job.seconds:.1f} s" for job in view.jobs
        )
        console.print(f"inside the jobs of {run.name}: {jobs}", style="dim")
    console.print("\n[bold]Try next[/]")
    for line in (
        *(f"nextbest runs show {run.name}" for run in runs),
        *(f"nextbest decide {DECISION_OF[kind]} {_ASK[kind]} --tenant {tenant}" for kind in kinds),
        f"nextbest train {kinds[0]} --tenant {tenant} --watch",
        f"nextbest models list --kind {kinds[0]} --tenant {tenant}",
        "nextbest data import YOUR.csv --tenant YOU --map customer_id=… --map product_id=…",
        "nextbest local down",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
