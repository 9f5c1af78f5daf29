"""`nextbest train`: start a run and, if asked, watch it."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.runs import watch_to_end
from pipelines.console import (
    ApprenticeOption,
    SetOption,
    StageOption,
    TenantOption,
    console,
    parse_assignments,
)
from pipelines.stacks import require_tenant
from pipelines.workspace import Workspace


def train(
    tenant: TenantOption,
    kind: Annotated[
        str, typer.Argument(help="What to train: recommender, nudge-policy or image-model.")
    ] = "recommender",
    settings: SetOption = None,
    tune: Annotated[
        int | None,
        typer.Option(metavar="N", help="Train N times on N machines, keep the best; 0: once."),
    ] = None,
    tune_parallel: Annotated[
        int | None, typer.Option(metavar="P", help="So many of them at a time.")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Follow it to its end.")] = False,
    apprentice: ApprenticeOption = False,
    stage: StageOption = None,
) -> None:
    """Train a model on the tenant's newest data; release it if it passes the gate."""
    workspace = Workspace(stage, tenant)
    require_tenant(workspace.stage, tenant)
    request = workspace.request(
        kind,
        parse_assignments(settings),
        tuning_jobs=tune,
        tuning_parallel=tune_parallel,
        release="apprentice" if apprentice else "live",
    )
    run = workspace.start(request)
    console.print(f"started {run.name}")
    if watch:
        watch_to_end(run)
    else:
        console.print(f"follow it with: nextbest runs watch {run.name}")
