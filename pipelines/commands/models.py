"""`nextbest models list | show | promote | rollback`."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.apprentices import Agreement, agreement, promote
from pipelines.console import JsonOption, StageOption, TenantOption, console, print_json
from pipelines.releases import DECISION_OF, ModelView, list_models, rollback
from pipelines.stage import open_stage

app = typer.Typer(
    help="Released models: list and show them, make an apprentice live, go back to one.",
    no_args_is_help=True,
)
KindOption = Annotated[
    str, typer.Option("--kind", "-k", help="Of what: recommender, nudge-policy or image-model.")
]


@app.command("list")
def list_(
    tenant: TenantOption,
    kind: KindOption = "recommender",
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """The released versions, newest first, and which one is live."""
    models = list_models(open_stage(stage), tenant, kind=kind)
    if as_json:
        print_json([asdict(model) for model in models])
        return
    if not models:
        console.print(f"nothing released yet: nextbest train {kind} --tenant {tenant}")
        return
    table = Table("version", "live", box=None, pad_edge=False)
    table.add_column("run", no_wrap=True, min_width=max(len(model.run) for model in models))
    table.add_column("apprentice")
    table.add_column("published")
    for model in models:
        live = "live" if model.is_live else ""
        watching = (model.apprentice or "").rpartition("-")[2]  # its run's own six digits
        table.add_row(
            model.version, live, model.run, watching, model.published_at[:16].replace("T", " ")
        )
    console.print(table)


@app.command()
def show(
    tenant: TenantOption,
    kind: Annotated[str | None, typer.Option("--kind", "-k", help="Only that one.")] = None,
    days: Annotated[float, typer.Option(min=0, help="How far back an apprentice counts.")] = 7.0,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """What is live and, where an apprentice watches, how often it agrees."""
    where = open_stage(stage)
    found: dict[str, tuple[ModelView, Agreement | None]] = {}
    for each in [kind] if kind else list(DECISION_OF):
        live = next((m for m in list_models(where, tenant, kind=each) if m.is_live), None)
        if live is not None:
            watched = agreement(where, tenant, days=days) if live.apprentice else None
            found[each] = (live, watched)
    if as_json:
        print_json({each: _as_json(*views) for each, views in found.items()})
        return
    if not found:
        console.print(f"nothing is live yet: nextbest train {kind or 'KIND'} --tenant {tenant}")
    for each, (live, watched) in found.items():
        _print_live(each, live)
        if watched is not None:
            _print_agreement(watched, days=days, tenant=tenant)


def _as_json(live: ModelView, watched: Agreement | None) -> dict[str, object]:
    if watched is None:
        return {**asdict(live), "agreement": None}
    choices = [
        {"action": action, "apprentice_action": other, "count": count}
        for (action, other), count in watched.choices.most_common()
    ]
    summary = {**asdict(watched), "rate": watched.rate, "choices": choices}
    return {**asdict(live), "agreement": summary}


def _print_live(kind: str, live: ModelView) -> None:
    at = live.published_at[:19]
    said = f"[bold]{kind}[/]: live is version {live.version}, run {live.run}, {at}"
    console.print(said, soft_wrap=True)
    console.print(f"  {live.model}", style="dim", soft_wrap=True)


def _print_agreement(found: Agreement, *, days: float, tenant: str) -> None:
    said = f"apprentice: run {found.apprentice}, logged beside it and not acted on"
    console.print(said, soft_wrap=True)
    if found.rate is None:
        console.print(f"no decision in the last {days:g} days yet", style="dim")
        return
    console.print(
        f"agreement: {found.rate:.1%} of {found.compared:,} decisions in the last {days:g} days; "
        f"probability in common {found.overlap:.1%}"
    )
    if found.failed:
        console.print(f"the apprentice failed on {found.failed:,} more", style="yellow")
    if not found.is_complete:
        console.print("more were logged than are read here", style="dim")
    table = Table("the live policy chose", "the apprentice", "times", box=None, pad_edge=False)
    for (action, other), count in found.choices.most_common(10):
        table.add_row(escape(action), escape(other), f"{count:,}")
    console.print(table)
    console.print(f"make it live with: nextbest models promote --tenant {tenant}", style="dim")


@app.command("promote")
def promote_(tenant: TenantOption, stage: StageOption = None) -> None:
    """Make the apprentice live; it is verified like every release."""
    version = promote(open_stage(stage), tenant)
    console.print(f"the apprentice is live as version {version}")


@app.command("rollback")
def rollback_(
    tenant: TenantOption,
    kind: KindOption = "recommender",
    to: Annotated[str | None, typer.Option("--to", help="A version; else the one before.")] = None,
    stage: StageOption = None,
) -> None:
    """Make an earlier version live again: one alias update."""
    done = rollback(open_stage(stage), tenant, kind=kind, to_version=to)
    console.print(
        f"{done.function}: live went from version {done.from_version} to {done.to_version}"
    )
