"""`nextbest demo` and `nextbest demo loop`: on this machine, with a simulated shop or your file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pipelines.console import console
from pipelines.stage import LOCAL, open_stage

PICTURE = Path(".nextbest/loop.png")
app = typer.Typer(invoke_without_command=True)


@app.callback()
def demo(
    context: typer.Context,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Yours instead of the simulated shop: interactions, nudges, pictures.", exists=True
        ),
    ] = None,
    tenant: Annotated[str, typer.Option("--tenant", "-t", help="Whose.")] = "demo",
) -> None:
    """From data to live decisions on this machine: cloud, deploy, import, train, ask."""
    if context.invoked_subcommand is not None:
        return
    from pipelines.demo.tour import tour  # pulls in pandas: not for every command's start

    with _interruptible("The same command takes it up again; a run that had begun goes on:"):
        tour(console, lambda: open_stage(LOCAL), tenant=tenant, source=data)


@app.command()
def loop(
    weeks: Annotated[int, typer.Option(min=1, max=52, help="How many cycles.")] = 5,
    customers: Annotated[int, typer.Option(min=300, max=50_000, help="A week.")] = 1500,
    seed: Annotated[int, typer.Option(min=0, help="Of customers and their reactions.")] = 0,
    picture: Annotated[Path, typer.Option(help="Where the picture goes.")] = PICTURE,
) -> None:
    """Weeks of decisions, reactions and retraining, beside what the simulator knows to be true."""
    from pipelines.demo.loop_tour import tour_loop

    with _interruptible("The same command begins anew, with a tenant of its own:"):
        tour_loop(
            console,
            lambda: open_stage(LOCAL),
            weeks=weeks,
            customers=customers,
            seed=seed,
            picture=picture,
        )


@contextmanager
def _interruptible(advice: str) -> Iterator[None]:
    """Ctrl-C ends with exit code 130 and what to do then."""
    try:
        yield
    except KeyboardInterrupt:
        lines = (advice, "  nextbest runs list", "  nextbest local down    ends everything")
        console.print("\ninterrupted. " + "\n".join(lines))
        raise typer.Exit(130) from None
