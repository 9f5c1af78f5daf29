"""`nextbest events put | dead-letters | replay`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pipelines import events
from pipelines.console import JsonOption, StageOption, console, errors, print_json
from pipelines.errors import EventError
from pipelines.stacks import tenants
from pipelines.stage import open_stage

app = typer.Typer(help="What customers do, into their profiles.", no_args_is_help=True)
_SHOWN = 20
_SHORTENED = 60


@app.command()
def put(
    file: Annotated[str, typer.Argument(help="JSON lines, an event each; - is standard input.")],
    stage: StageOption = None,
) -> None:
    """Put events on the stage's stream; lines that are none are listed, and the exit code is 2."""
    where = open_stage(stage)
    known = tenants(where)
    if file == "-":
        count, refused = events.put(where, sys.stdin.buffer, tenants=known)
    else:
        with Path(file).open("rb") as lines, errors.status("putting"):
            count, refused = events.put(where, lines, tenants=known)
    console.print(f"{count} events put, {len(refused)} refused")
    for found in refused[:_SHOWN]:
        errors.print(f"line {found.line}: {found.path}: {found.message}", markup=False)
    if len(refused) > _SHOWN:
        errors.print(f"and {len(refused) - _SHOWN} more")
    if refused:
        raise typer.Exit(2)


@app.command("dead-letters")
def dead_letters(as_json: JsonOption = False, stage: StageOption = None) -> None:
    """What could not be recorded, and why."""
    where = open_stage(stage)
    letters = events.dead_letters(where)
    events.show_again(where, letters)
    rows = [(found.id, found.at, found.path, found.error, _text(found)) for found in letters]
    if as_json:
        names = ("id", "at", "path", "error", "record")
        print_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    if not rows:
        console.print("no dead letters")
        return
    table = Table("id", "when", "path", "error", "record", box=None, pad_edge=False)
    for identity, at, path, error, record in rows:
        short = record if len(record) <= _SHORTENED else record[:_SHORTENED] + "…"
        table.add_row(identity, at, path, error, short)
    console.print(table, markup=False)


@app.command()
def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Which; all unless said.")] = None,
    stage: StageOption = None,
) -> None:
    """Put dead letters on their stream again; what still cannot be recorded comes back."""
    where = open_stage(stage)
    letters = events.dead_letters(where)
    chosen = [found for found in letters if not ids or found.id in ids]
    events.show_again(where, [found for found in letters if ids and found.id not in ids])
    unknown = sorted(set(ids or ()) - {found.id for found in letters})
    if unknown:
        events.show_again(where, chosen)
        raise EventError(f"no dead letter {', '.join(unknown)}; see: nextbest events dead-letters")
    console.print(f"{events.replay(where, chosen)} records of {len(chosen)} dead letters put again")


def _text(letter: events.DeadLetter) -> str:
    return b" ".join(letter.records).decode(errors="replace")
