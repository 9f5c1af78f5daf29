"""`nextbest local up | status | env | down | reset`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.console import console
from pipelines.local import cloud

app = typer.Typer(help="The whole cloud on this machine.", no_args_is_help=True)


@app.command()
def up() -> None:
    """Start it in the background, or say where it runs."""
    found = cloud.up(Path.cwd())
    if found.started:
        console.print(f"up at {found.endpoint_url} after {found.ready_seconds:.1f} s")
    else:
        console.print(f"was up already at {found.endpoint_url}")
    console.print('for boto3 and the SageMaker SDK: eval "$(nextbest local env)"', style="dim")


@app.command()
def status() -> None:
    """Where it runs, since when, and how much memory it takes. Exit code 1 if it does not."""
    found = cloud.status(Path.cwd())
    if found is None:
        console.print("not running; start it with: nextbest local up")
        raise typer.Exit(1)
    folder = cloud.folder_of(Path.cwd())
    console.print(f"{found.endpoint_url}  pid {found.pid}  {found.memory_mb:.0f} MB")
    console.print(f"up for {found.up_seconds:.0f} s, state in {folder}", style="dim")


@app.command()
def env() -> None:
    """Print shell lines that point boto3 and the SageMaker SDK at it."""
    for name, value in cloud.environment(Path.cwd()).items():
        print(f"export {name}={value}")


@app.command()
def down() -> None:
    """Stop it with everything it started; its state stays."""
    console.print("stopped" if cloud.down(Path.cwd()) else "was not running")


@app.command()
def reset(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop it and forget everything in it: data, models, runs."""
    if not yes:
        typer.confirm("Forget all data, models and runs of the local stage?", abort=True)
    cloud.reset(Path.cwd())
    console.print("stopped and forgotten")
