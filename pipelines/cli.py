"""`nextbest`: the command line. Parses and prints; the work is done by the modules it calls."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import typer
from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError

from inference.errors import NextbestError
from pipelines.commands import (
    customers,
    data,
    decide,
    demo,
    deploy,
    events,
    local,
    models,
    runs,
    schedule,
    train,
)
from pipelines.console import console, errors

BAD_INPUT = 2

app = typer.Typer(
    help="Product and nudge decisions: train, release and ask, on this machine or on AWS.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(demo.app, name="demo")
app.add_typer(local.app, name="local")
app.command("deploy")(deploy.deploy)
app.add_typer(deploy.tenant_app, name="tenant")
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.add_typer(runs.app, name="runs")
app.add_typer(models.app, name="models")
app.add_typer(decide.app, name="decide")
app.add_typer(events.app, name="events")
app.add_typer(customers.app, name="customers")
app.add_typer(schedule.app, name="schedule")


def _print_version(wanted: bool) -> None:
    if wanted:
        console.print(f"nextbest {version('nextbest')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="And leave."),
    ] = False,
) -> None:
    """Product and nudge decisions: train, release and ask, on this machine or on AWS."""


def main() -> None:
    """Run the command line; an expected error is one message and exit code 2, no traceback."""
    warnings.filterwarnings("ignore", message='"is" with', category=SyntaxWarning)
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    try:
        app()
    except NextbestError as error:
        _fail(type(error).__name__, str(error))
    except EndpointConnectionError as error:
        _fail("StageError", f"{error}; is the stage up? nextbest local status")
    except (BotoCoreError, ClientError, OSError) as error:
        _fail(type(error).__name__, str(error))


def _fail(name: str, message: str) -> None:
    errors.print(f"[bold red]{name}[/]", end=": ")
    errors.print(message, markup=False, soft_wrap=True)
    sys.exit(BAD_INPUT)


if __name__ == "__main__":
    main()
