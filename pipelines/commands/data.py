"""`nextbest data import | list`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.console import (
    JsonOption,
    StageOption,
    TenantOption,
    console,
    errors,
    parse_assignments,
    print_json,
)
from pipelines.stacks import require_tenant
from pipelines.stage import open_stage

app = typer.Typer(help="A tenant's data: import, list.", no_args_is_help=True)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A file, or a folder with interactions.*")],
    tenant: TenantOption,
    format: Annotated[
        str, typer.Option(help="auto, canonical, csv, online-retail or sequences.")
    ] = "auto",
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OURS=THEIRS", help="A column; OURS=:text is a constant."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Check and profile; upload nothing.")] = False,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """Check a file or folder and make it the tenant's newest data set."""
    from pipelines import data  # pulls in pandas

    mapping = parse_assignments(map_, option="--map", example="customer_id=user")
    bar = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
    )
    with bar:
        task = bar.add_task("starting", total=1.0)

        def progress(what: str, share: float) -> None:
            bar.update(task, description=what, completed=share)

        if dry_run:
            now = datetime.now(UTC)
            found = data.read_source(
                path, format=format, mapping=mapping, now=now, progress=progress
            )
            profile, where = found.profile, "nothing uploaded (--dry-run)"
        else:
            target = open_stage(stage)
            require_tenant(target, tenant)
            imported = data.import_dataset(
                target, path, tenant=tenant, format=format, mapping=mapping, progress=progress
            )
            profile = imported.profile
            where = f"{'unchanged' if imported.unchanged else 'imported'}: {imported.uri}"
    if as_json:
        print_json(profile)
        return
    console.print(render_profile(profile))
    for note in profile["notes"]:
        console.print(f"  {note}", style="dim", markup=False, soft_wrap=True)
    console.print(where, markup=False, soft_wrap=True)


def render_profile(profile: dict[str, Any]) -> Table:
    """A data set's profile for the terminal."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name in ("rows", "customers", "products"):
        table.add_row(name, f"{profile[name]:,}")
    if profile["first"]:
        span = f"{profile['first'][:10]} to {profile['last'][:10]}, {profile['days']} days"
    else:
        span = "no times, order only"
    table.add_row("span", span)
    table.add_row("events", ", ".join(f"{k} {v:,}" for k, v in profile["events"].items()))
    table.add_row("repeats", f"{profile['repeat_share']:.1%} of the rows")
    for reason, count in profile["rejected"].items():
        table.add_row("set aside", f"{count:,}: {reason}")
    return table


@app.command("list")
def list_(tenant: TenantOption, stage: StageOption = None) -> None:
    """The tenant's data sets, newest first."""
    from pipelines import data

    for dataset_id in data.list_datasets(open_stage(stage), tenant):
        console.print(dataset_id)
