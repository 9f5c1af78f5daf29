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
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines import data, stacks
from pipelines.commands.decide import render_products
from pipelines.commands.runs import last_line, render_metrics
from pipelines.demo.first_day import tour_first_day
from pipelines.demo.nudge_tour import tour_nudges
from pipelines.demo.picture_tour import tour_pictures
from pipelines.demo.shop import Shop, write_shop
from pipelines.errors import RunError
from pipelines.runs import RunView
from pipelines.stage import Stage
from pipelines.workspace import Run, Workspace

T = TypeVar("T")


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
    console: Console, open_stage: Callable[[], Stage], *, tenant: str, source: Path | None
) -> None:
    """Take the visitor through; `source` is their own file, or None for the simulated shop.

    Raises an error of the tree when any step falls short.
    """
    steps = Steps(console)
    with steps.step("Start the cloud on this machine"):
        stage = open_stage()
        console.print(f"  {stage.endpoint_url}")
    with steps.step("Deploy nextbest to it (CloudFormation) and add a tenant"):
        _deploy(stage, tenant, console)
    with steps.step(f"Import {source.name if source else 'a simulated shop'}"):
        shop = _import(stage, tenant, source, console)
    workspace = Workspace(stage, tenant)
    if shop is not None:
        tour_pictures(workspace, shop, steps, console)
    with steps.step("Train, evaluate, gate and release (Step Functions, SageMaker jobs)"):
        run = _train(workspace, console)
    with steps.step("Ask the live Lambda for decisions"):
        _decide(workspace, run.name, console)
    if shop is not None:
        with steps.step("Recommend a product that came in today"):
            tour_first_day(workspace, shop, console)
        tour_nudges(workspace, steps, console)
    _sum_up(console, steps, run, tenant=tenant, with_nudges=source is None)


def _deploy(stage: Stage, tenant: str, console: Console) -> None:
    def say(line: str) -> None:
        console.print(f"  {line}", style="dim", markup=False)

    stacks.deploy(stage, progress=say)
    stacks.add_tenant(stage, tenant, progress=say)


def _import(stage: Stage, tenant: str, source: Path | None, console: Console) -> Shop | None:
    """Import the visitor's file, or the simulated shop, which is returned: its truth is known."""
    with tempfile.TemporaryDirectory(prefix="nextbest-demo-") as folder:
        path = source or Path(folder)
        shop = write_shop(path) if source is None else None
        with console.status("") as status:
            imported = data.import_datasets(
                stage,
                path,
                tenant=tenant,
                progress=lambda what, share: status.update(f"[dim]{escape(what)}, {share:.0%}[/]"),
            )[0]
    console.print(f"  {imported.profile['rows']:,} interactions", style="dim")
    return shop


def _train(workspace: Workspace, console: Console) -> Run:
    run = workspace.train("recommender")
    console.print(f"  run {run.name}")
    view = _follow(run, console)
    if view.outcome == "refused":
        for reason in view.reasons:
            console.print(f"  {reason}")
    if view.outcome not in ("released", "refused"):
        why = f": {view.error}: {view.cause}" if view.error else ""
        raise RunError(f"run {run.name} ended as {view.summary}{why}; nothing new is live")
    console.print(render_metrics(run.metrics()))
    return run


def _follow(run: Run, console: Console) -> RunView:
    """Wait for the end: a line a state, and below them what the job under way says."""
    told = 0
    with console.status("") as status:
        for view in run.watch():
            for state in view.states[told:]:
                console.print(f"  {state.entered_at:%H:%M:%S}  {state.name}", style="dim")
            told = len(view.states)
            status.update(f"[dim]{escape(last_line(run.stage, view) or run.name)}[/]")
    return run.view


def _decide(workspace: Workspace, run: str, console: Console) -> None:
    for title, request in _requests(workspace, run):
        answer = workspace.decide(request)
        if "error" in answer or not answer["products"]:
            raise RunError(f"the live Lambda gave no products for {request}: {answer}")
        console.print(f"  [bold]{title}[/]")
        console.print(render_products(answer))


def _requests(workspace: Workspace, run: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A customer of the golden requests, and one nobody knows yet."""
    golden = Run(workspace.stage, run).golden()
    known = next(case["request"] for case in golden if len(case["request"].get("history", [])) > 1)
    yield "a customer with a history", {"history": known["history"][-5:], "limit": 5}
    yield "somebody new", {"limit": 3}


def _sum_up(console: Console, steps: Steps, run: Run, *, tenant: str, with_nudges: bool) -> None:
    view: RunView = run.view
    console.print(steps.table())
    jobs = ", ".join(
        f"{job.name.removeprefix(view.name + '-')} {job.seconds:.1f} s" for job in view.jobs
    )
    console.print(f"inside the run's jobs: {jobs}", style="dim")
    console.print("\n[bold]Try next[/]")
    for line in (
        f"nextbest runs show {run.name}",
        f"nextbest decide next-best-product --tenant {tenant} --limit 5",
        *(
            [f"nextbest decide nudge --tenant {tenant} --customer you --consent email"]
            if with_nudges
            else []
        ),
        f"nextbest train recommender --tenant {tenant} --watch",
        f"nextbest models list --tenant {tenant}",
        "nextbest data import YOUR.csv --tenant YOU --map customer_id=… --map product_id=…",
        "nextbest local down",
    ):
        console.print(f"  {line}", markup=False, soft_wrap=True)
