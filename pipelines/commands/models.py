"""`nextbest models list | rollback`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table

from pipelines.console import JsonOption, StageOption, TenantOption, console, print_json
from pipelines.releases import list_models, rollback
from pipelines.stage import open_stage

app = typer.Typer(help="Released models: list them, go back to one.", no_args_is_help=True)


@app.command("list")
def list_(tenant: TenantOption, as_json: JsonOption = False, stage: StageOption = None) -> None:
    """The released versions, newest first, and which one is live."""
    models = list_models(open_stage(stage), tenant)
    if as_json:
        print_json([asdict(model) for model in models])
        return
    if not models:
        console.print(f"nothing released yet: nextbest train recommender --tenant {tenant}")
        return
    table = Table("version", "live", "run", "published", box=None, pad_edge=False)
    for model in models:
        live = "live" if model.is_live else ""
        table.add_row(model.version, live, model.run, model.published_at[:19])
    console.print(table)


@app.command("rollback")
def rollback_(
    tenant: TenantOption,
    to: Annotated[str | None, typer.Option("--to", help="A version; else the one before.")] = None,
    stage: StageOption = None,
) -> None:
    """Make an earlier version live again: one alias update."""
    done = rollback(open_stage(stage), tenant, to_version=to)
    console.print(
        f"{done.function}: live went from version {done.from_version} to {done.to_version}"
    )
