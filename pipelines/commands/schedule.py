"""`nextbest schedule set | list | run | remove`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from pipelines.configuration import load_configuration
from pipelines.console import (
    ApprenticeOption,
    JsonOption,
    SetOption,
    StageOption,
    TenantOption,
    console,
    parse_assignments,
    print_json,
)
from pipelines.errors import ScheduleError
from pipelines.schedules import (
    cron,
    list_schedules,
    rate,
    remove_schedule,
    run_schedule,
    set_schedule,
)
from pipelines.stacks import require_tenant
from pipelines.stage import KINDS, open_stage
from pipelines.workspace import Workspace

app = typer.Typer(help="Retraining by the clock.", no_args_is_help=True)
KindArgument = Annotated[str, typer.Argument(help=f"What to retrain: {', '.join(KINDS)}.")]


@app.command("set")
def set_(
    tenant: TenantOption,
    kind: KindArgument = "recommender",
    every: Annotated[str | None, typer.Option(help="A span: 7d, 12h, 30m.")] = None,
    cron_fields: Annotated[
        str | None, typer.Option("--cron", help="Six fields in UTC: '0 3 ? * MON *'.")
    ] = None,
    settings: SetOption = None,
    apprentice: ApprenticeOption = False,
    stage: StageOption = None,
) -> None:
    """Retrain on the newest data, again and again. Replaces an earlier schedule."""
    if (every is None) == (cron_fields is None):
        raise ScheduleError("say when: either --every 7d or --cron '0 3 ? * MON *'")
    workspace = Workspace(stage, tenant)
    require_tenant(workspace.stage, tenant)
    request = workspace.request(
        kind, parse_assignments(settings), release="apprentice" if apprentice else "live"
    )
    expression = rate(every) if every else cron(cron_fields or "")
    events = load_configuration(workspace.root).events
    view = set_schedule(workspace.stage, request, expression=expression, events=events)
    console.print(f"{view.tenant}: {view.kind} retrains at {view.expression}")


@app.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="Only that one's.")] = None,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """The schedules of the stage."""
    views = list_schedules(open_stage(stage), tenant=tenant)
    if as_json:
        print_json([asdict(view) for view in views])
        return
    if not views:
        console.print("nothing is scheduled; e.g. nextbest schedule set -t NAME --every 7d")
        return
    table = Table("tenant", "kind", "when", "state", box=None, pad_edge=False)
    for view in views:
        table.add_row(view.tenant, view.kind, view.expression, view.state.lower())
    console.print(table)


@app.command()
def run(
    tenant: TenantOption, kind: KindArgument = "recommender", stage: StageOption = None
) -> None:
    """Do now what the schedule does when it is due."""
    name = run_schedule(open_stage(stage), tenant, kind=kind)
    console.print(f"run {name}; nextbest runs watch {name} follows it", soft_wrap=True)


@app.command()
def remove(
    tenant: TenantOption, kind: KindArgument = "recommender", stage: StageOption = None
) -> None:
    """Stop retraining by the clock; runs under way go on."""
    remove_schedule(open_stage(stage), tenant, kind=kind)
    console.print(f"{tenant}: {kind} is no longer scheduled")
