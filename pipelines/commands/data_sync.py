"""`nextbest data sync`: what has come into the archive, into the tenant's newest data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from pipelines.configuration import load_configuration
from pipelines.console import (
    JsonOption,
    StageOption,
    TenantOption,
    console,
    print_json,
    progress_bar,
)
from pipelines.stacks import require_tenant
from pipelines.stage import open_stage

if TYPE_CHECKING:
    from pipelines.sync import Synced


def sync(
    tenant: TenantOption,
    dry_run: Annotated[bool, typer.Option(help="Tell what it would make; store nothing.")] = False,
    retrain_on_drift: Annotated[
        bool,
        typer.Option(help="Start a retraining if the drift is above [events] drift_threshold."),
    ] = False,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """Make data sets of what was imported and all events and decisions since."""
    from pipelines import sync as syncing  # pulls in pandas

    rules = syncing.rules_of(load_configuration(Path.cwd()).events)
    where = open_stage(stage)
    require_tenant(where, tenant)
    with progress_bar() as bar:
        task = bar.add_task("starting", total=1.0)
        found = syncing.sync_tenant(
            where,
            tenant,
            rules=rules,
            dry_run=dry_run,
            progress=lambda what, share: bar.update(task, description=what, completed=share),
        )
    drifted = retrain_on_drift and found.stored and found.drift > rules.drift_threshold
    runs = syncing.retrain(where, tenant, found) if drifted else []
    if as_json:
        print_json({"due": found.plan.due, "stored": found.stored, "account": found.account})
    else:
        _show(found, runs=runs, asked=retrain_on_drift)


def _show(found: Synced, *, runs: list[str], asked: bool) -> None:
    from pipelines.sync_account import lines_of

    plan, account = found.plan, found.account
    if account is None:
        where = "the newest data sets hold all that is in the archive"
        empty = f"{plan.tenant} has no import, and nothing in its archive"
        console.print(f"nothing new: {where if plan.bases or plan.last else empty}")
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, text in lines_of(account):
        table.add_row(name, text)
    console.print(f"{plan.due}: {plan.new_objects:,} objects read")
    console.print(table, markup=False)
    for name, uri in _made(found).items():
        console.print(f"{name}: {uri}", markup=False, soft_wrap=True)
    if not found.stored:
        console.print("nothing stored (--dry-run)")
    for run in runs:
        console.print(f"drifted: run {run}; nextbest runs watch {run} follows it", soft_wrap=True)
    if asked and found.stored and not runs:
        console.print("no retraining: the drift is within its threshold")


def _made(found: Synced) -> dict[str, Any]:
    """Where the data sets are, by what they are of."""
    account = found.account or {}
    kinds = [kind for kind in ("interactions", "nudges") if account[kind]["made"]]
    return (
        {f"data set of {kind}": found.plan.outputs[kind] for kind in kinds} if found.stored else {}
    )
