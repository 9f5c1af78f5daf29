"""`nextbest runs list | show | watch | stop | retry | logs`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipelines.console import JsonOption, StageOption, console, print_json
from pipelines.errors import RunError
from pipelines.jobs import JobView, last_log_line
from pipelines.runs import RunView, StateView, list_runs, retry_run, show_run, stop_run
from pipelines.stacks import require_tenant
from pipelines.stage import Stage, open_stage
from pipelines.workspace import Run

app = typer.Typer(help="Training runs: list, show, watch, stop, retry, logs.", no_args_is_help=True)
RunArgument = Annotated[str, typer.Argument(help="The run's name; nextbest runs list shows them.")]
_STYLES = {"released": "green", "refused": "yellow", "superseded": "yellow", "running": "cyan"}


@app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Only that one's.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """The newest runs and how they ended."""
    where = open_stage(stage)
    if tenant is not None:
        require_tenant(where, tenant)
    views = list_runs(where, tenant=tenant, limit=limit)
    if as_json:
        print_json([{**asdict(view), "summary": view.summary} for view in views])
        return
    if not views:
        console.print("no runs yet; start one with: nextbest train recommender --tenant NAME")
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("run", no_wrap=True, min_width=max(len(view.name) for view in views))
    for name in ("tenant", "started", "took", "result"):
        table.add_column(name)
    for view in views:
        started = f"{view.started_at:%Y-%m-%d %H:%M}"
        table.add_row(view.name, view.tenant, started, _span(view), _styled(view.summary))
    console.print(table)


@app.command()
def show(name: RunArgument, as_json: JsonOption = False, stage: StageOption = None) -> None:
    """One run: its states with times, its jobs, figures and, if it failed, why."""
    where = open_stage(stage)
    view = show_run(where, name)
    if as_json:
        print_json({**asdict(view), "summary": view.summary})
        return
    console.print(render_run(view, None))
    if view.outcome:
        console.print(render_metrics(Run(where, name).metrics()))


@app.command()
def watch(name: RunArgument, stage: StageOption = None) -> None:
    """Follow a run to its end; Ctrl-C leaves it running."""
    watch_to_end(Run(open_stage(stage), name))


@app.command()
def stop(name: RunArgument, stage: StageOption = None) -> None:
    """Stop a run and its job. What is live stays live."""
    where = open_stage(stage)
    before = show_run(where, name)
    if before.has_ended:
        console.print(f"{name} had ended already: {before.summary}")
        return
    stop_run(where, name)
    console.print(f"stopped {name}; nothing that is live has changed")


@app.command()
def retry(name: RunArgument, stage: StageOption = None) -> None:
    """Start a new run with the data and configuration of an earlier one."""
    fresh = retry_run(open_stage(stage), name)
    console.print(f"started {fresh}\nfollow it with: nextbest runs watch {fresh}")


@app.command()
def logs(name: RunArgument, stage: StageOption = None) -> None:
    """Everything the run's jobs have logged."""
    for line in Run(open_stage(stage), name).logs():
        print(line)


def watch_to_end(run: Run) -> RunView:
    """Show a run live until it ends. Exit code 1 if it failed; Ctrl-C leaves it running."""
    view = None
    try:
        with Live(console=console, refresh_per_second=8, transient=False) as live:
            for view in run.watch():
                live.update(render_run(view, last_line(run.stage, view)))
    except KeyboardInterrupt:
        console.print(
            f"\n{run.name} goes on. Come back with: nextbest runs watch {run.name}\n"
            f"or end it with: nextbest runs stop {run.name}"
        )
        raise typer.Exit(130) from None
    if not console.is_terminal:
        console.print()  # in a file, what was live ends without its line's end
    if view is None or view.outcome is None:
        raise typer.Exit(1)
    try:
        console.print(render_metrics(run.metrics()))
    except RunError as error:
        console.print(str(error))
    return view


def last_line(stage: Stage, view: RunView) -> str | None:
    """What the job under way has logged last, if one is."""
    running = [job for job in view.jobs if not job.has_ended]
    return last_log_line(stage, running[-1]) if running else None


def render_run(view: RunView, line: str | None) -> Group:
    """A run for the terminal: states, the job's last log line and metrics, the end."""
    return Group(*_parts(view, line))


def _parts(view: RunView, line: str | None) -> Iterator[Table | Text]:
    yield Text.assemble(
        (view.name, "bold"), "  ", _styled(view.summary), f"  {_span(view)}  tenant {view.tenant}"
    )
    table = Table(box=None, pad_edge=False, show_header=False)
    for state in view.states:
        mark = "✓" if state.ended_at else ("✗" if view.has_ended else "…")
        table.add_row(f"  {mark}", state.name, _state_span(state, view))
    yield table
    telling = [job for job in view.jobs if job.type == "tuning"] or view.jobs
    metrics = {name: value for job in telling for name, value in job.metrics.items()}
    if metrics:
        shown = "  ".join(f"{name} {value:.4g}" for name, value in sorted(metrics.items()))
        yield Text(f"  {shown}", style="dim")
    if line and not view.has_ended:
        yield Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis")
    for reason in view.reasons:
        yield Text(f"  {reason}")
    if view.error:
        yield Text(f"  {view.error}: {view.cause or 'no cause given'}", style="red")
        for job in _failed_jobs(view):
            yield Text(f"  {job.name}: {job.reason}", style="red")
        yield Text(
            f"  logs: nextbest runs logs {view.name}   again: nextbest runs retry {view.name}"
        )


def _failed_jobs(view: RunView) -> list[JobView]:
    """Jobs that failed of something the run's cause does not tell; three at most."""
    failed = [job for job in view.jobs if job.status == "Failed" and job.reason]
    untold = [job for job in failed if str(job.reason) not in (view.cause or "")]
    return untold[:3]


def _state_span(state: StateView, view: RunView) -> str:
    end = state.ended_at or view.ended_at or datetime.now(UTC)
    return f"{(end - state.entered_at).total_seconds():.1f} s"


def _span(view: RunView) -> str:
    end = view.ended_at or datetime.now(UTC)
    return f"{(end - view.started_at).total_seconds():.1f} s"


def _styled(summary: str) -> Text:
    return Text(summary, style=_STYLES.get(summary, "red"))


def render_metrics(metrics: dict) -> Table:
    """`metrics.json` as a table: a row a model, a column a figure."""
    models = {name: figures for name, figures in metrics["models"].items() if figures}
    names = list(next(iter(models.values())))
    table = Table(f"on {_evidence(metrics)}", *names, box=None, pad_edge=False)
    for model, figures in models.items():
        table.add_row(model, *[_figure(figures.get(name)) for name in names])
    table.caption, table.caption_justify = _newcomers(metrics), "left"
    return table


def _evidence(metrics: dict) -> str:
    """Of how many the figures are: customers or pictures held out, or a log's decisions."""
    unit = next(unit for unit in ("customers", "pictures", "decisions") if unit in metrics)
    return f"{metrics[unit]:,} {'' if unit == 'decisions' else 'held-out '}{unit}"


def _newcomers(metrics: dict) -> str | None:
    """How products without history fare, where the run could tell."""
    found = metrics.get("products_without_history")
    if not found or not found["customers"]:
        return None
    shares = [f"{figures['recall@20']:.4f} by {m}" for m, figures in found["models"].items()]
    who = f"{found['customers']} customers and the {found['hidden']} newest products"
    return f"recall@20 of products without history: {', '.join(shares)} ({who})"


def _figure(value: object) -> str:
    return "" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)
