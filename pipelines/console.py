"""What every command shares: the console, the stage option, and key=value settings."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from training.errors import ConfigurationError

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

StageOption = Annotated[
    str | None,
    typer.Option("--stage", help="Where: local (the default) or a stage of nextbest.toml."),
]
TenantOption = Annotated[str, typer.Option("--tenant", "-t", help="Whose data and models.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
ApprenticeOption = Annotated[
    bool,
    typer.Option(
        "--apprentice",
        help="A nudge-policy that passes watches the live one: logged, not acted on.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting of the kind; repeatable."),
]


def parse_assignments(
    pairs: list[str] | None, *, option: str = "--set", example: str = "k=20"
) -> dict[str, str]:
    """`key=value` pairs as a mapping; `ConfigurationError` for one without an equals sign."""
    settings = {}
    for pair in pairs or []:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise ConfigurationError(
                f"{option} {pair!r}: expected KEY=VALUE, e.g. {option} {example}"
            )
        settings[key.strip()] = value.strip()
    return settings


def progress_bar() -> Progress:
    """A bar on stderr that is gone when it ends; nothing where nobody watches."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=errors,
        transient=True,
        disable=not errors.is_terminal,  # it would leave an empty line in a log
    )


def print_json(value: Any) -> None:
    """JSON on standard output, unwrapped and uncoloured, so that it can be piped."""
    print(json.dumps(value, indent=2, default=str))
