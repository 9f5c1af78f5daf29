"""`nextbest demo`: the whole way on this machine, with a simulated shop or your own file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipelines.console import console
from pipelines.stage import LOCAL, open_stage


def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="Your interactions instead of the simulated shop's.", exists=True),
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Whose.")] = "demo",
) -> None:
    """From data to live decisions on this machine: cloud, deploy, import, train, ask."""
    from pipelines.demo.tour import tour  # pulls in pandas: not for every command's start

    try:
        tour(console, lambda: open_stage(LOCAL), tenant=tenant, source=data)
    except KeyboardInterrupt:
        console.print(
            "\ninterrupted. The same command takes it up again; a run that had begun goes on:\n"
            "  nextbest runs list\n  nextbest local down    ends everything"
        )
        raise typer.Exit(130) from None
