"""`nextbest data import | sync | join | list`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from pipelines.adapters import FORMATS
from pipelines.commands.data_sync import sync
from pipelines.console import (
    JsonOption,
    StageOption,
    TenantOption,
    console,
    errors,
    parse_assignments,
    print_json,
    progress_bar,
)
from pipelines.stacks import require_tenant
from pipelines.stage import check_tenant, open_stage

_SHOWN = 8
app = typer.Typer(help="A tenant's data: import, sync, join, list.", no_args_is_help=True)


@app.command("import")
def import_(
    path: Annotated[
        Path, typer.Argument(help="A file, or a folder with interactions.*, nudges.* or pictures")
    ],
    tenant: TenantOption,
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "auto",
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

    check_tenant(tenant)
    mapping = parse_assignments(map_, option="--map", example="customer_id=user")
    with _progress() as progress:
        if dry_run:
            found = [
                (dataset.profile, "nothing uploaded (--dry-run)")
                for dataset in data.read_sources(
                    path, format=format, mapping=mapping, now=datetime.now(UTC), progress=progress
                )
            ]
        else:
            target = open_stage(stage)
            require_tenant(target, tenant)
            found = [
                (one.profile, f"{'unchanged' if one.unchanged else 'imported'}: {one.uri}")
                for one in data.import_datasets(
                    target, path, tenant=tenant, format=format, mapping=mapping, progress=progress
                )
            ]
    if as_json:
        profiles = [profile for profile, _ in found]
        print_json(profiles if len(profiles) > 1 else profiles[0])
    else:
        _show(found)


@contextmanager
def _progress() -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr, moved by what is being done and how far it is."""
    with progress_bar() as bar:
        task = bar.add_task("starting", total=1.0)
        yield lambda what, share: bar.update(task, description=what, completed=share)


def _show(found: list[tuple[dict[str, Any], str]]) -> None:
    """Profiles, their notes and where each went."""
    for profile, where in found:
        console.print(render_profile(profile), markup=False)
        for note in profile["notes"]:
            console.print(f"  {note}", style="dim", markup=False, soft_wrap=True)
        console.print(where, markup=False, soft_wrap=True)


def render_profile(profile: dict[str, Any]) -> Table:
    """A data set's profile for the terminal: of interactions, nudges or pictures."""
    is_nudges = profile.get("table") == "nudges"
    table = Table(show_header=False, box=None, pad_edge=False)
    for name in ("rows", "customers", "products"):
        if name in profile:
            table.add_row(name, f"{profile[name]:,}")
    if profile.get("table") == "pictures":
        return _picture_rows(table, profile)
    if profile["first"]:
        span = f"{profile['first'][:10]} to {profile['last'][:10]}, {profile['days']} days"
    else:
        span = "no times, order only"
    table.add_row("span", span)
    for name, text in (_nudge_rows if is_nudges else _interaction_rows)(profile):
        table.add_row(name, text)
    for reason, count in profile["rejected"].items():
        table.add_row("set aside", f"{count:,}: {reason}")
    if profile.get("suppressed"):
        table.add_row("left out", f"{profile['suppressed']:,}: of customers who were erased")
    return table


def _picture_rows(table: Table, profile: dict[str, Any]) -> Table:
    table.add_row("pictures", f"{profile['pictures']:,}")
    classes = [f"{name} {count:,}" for name, count in profile["classes"].items()]
    more = f", and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
    table.add_row(str(profile["label"] or "labels"), ", ".join(classes[:_SHOWN]) + more or "none")
    if profile["split"]:
        table.add_row("split", ", ".join(f"{k} {v:,}" for k, v in profile["split"].items()))
    for reason, count in profile["rejected"].items():
        table.add_row("set aside", f"{count:,}: {reason}")
    return table


def _interaction_rows(profile: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        ("events", ", ".join(f"{k} {v:,}" for k, v in profile["events"].items())),
        ("repeats", f"{profile['repeat_share']:.1%} of the rows"),
    ]


def _nudge_rows(profile: dict[str, Any]) -> list[tuple[str, str]]:
    actions = profile["actions"]
    shown = [f"{k} {v['decisions']:,} ({v['mean_reward']:.4g} each)" for k, v in actions.items()]
    more = f", and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return [
        ("actions", ", ".join(shown[:_SHOWN]) + more),
        ("rewarded", f"{profile['rewarded']:,} decisions"),
        ("context", ", ".join(profile["context"][:_SHOWN]) or "none"),
        ("smallest propensity", f"{profile['smallest_propensity']:.3g}"),
    ]


app.command("sync")(sync)


@app.command("join")
def join(
    decisions: Annotated[
        Path,
        typer.Argument(help="decision_id, customer_id, timestamp, action, propensity, context_*"),
    ],
    rewards: Annotated[
        Path,
        typer.Argument(help="event_id, timestamp, reward; decision_id, or customer_id [action]"),
    ],
    into: Annotated[Path, typer.Option("--into", help="The folder for nudges.parquet.")],
    attribution_hours: Annotated[
        float, typer.Option(help="A reward without a decision is of the last one so long ago.")
    ] = 24.0,
    reward_wait_hours: Annotated[
        float, typer.Option(help="A decision waits so long; then its reward is final.")
    ] = 72.0,
    several: Annotated[str, typer.Option(help="Of several rewards: max, sum or first.")] = "max",
    default_reward: Annotated[float, typer.Option(help="Where none came.")] = 0.0,
    as_json: JsonOption = False,
) -> None:
    """Join your own logs of decisions and rewards into nudges, ready to be imported."""
    from pipelines.joining import join_files, rules_of

    rules = rules_of(
        attribution_hours=attribution_hours,
        reward_wait_hours=reward_wait_hours,
        several=several,
        default_reward=default_reward,
    )
    with errors.status("joining"):
        found = join_files(decisions, rewards, rules=rules, now=datetime.now(UTC), target=into)
    if as_json:
        print_json(found.counts)
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, count in found.counts.items():
        table.add_row(name.replace("_", " "), f"{count:,}")
    console.print(table)
    made = f"{into / 'nudges.parquet'}; why a reward has no decision: unjoined.parquet"
    console.print(made, markup=False)
    console.print(f"next: nextbest data import {into} --tenant TENANT", style="dim", markup=False)


@app.command("list")
def list_(tenant: TenantOption, stage: StageOption = None) -> None:
    """The tenant's data sets, newest first."""
    from pipelines import data

    for dataset_id in data.list_datasets(open_stage(stage), tenant):
        console.print(dataset_id)
