"""Every command explains itself, and the documents name only commands that exist."""

import re
from pathlib import Path

import pytest
import typer
from click.testing import CliRunner

from pipelines.cli import app
from pipelines.console import progress_bar
from pipelines.stage import KINDS

ROOT = Path(__file__).resolve().parents[3]
GROUP = typer.main.get_command(app)


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


PATHS = sorted(commands(GROUP))


@pytest.mark.parametrize("path", PATHS, ids=" ".join)
def test_every_command_has_help(path):
    done = CliRunner().invoke(GROUP, [*path, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


@pytest.mark.parametrize(
    "name",
    ["README.md", *[f"docs/{n}.md" for n in ("customers", "nudges", "runs", "stages", "sync")]],
)
def test_documents_name_only_commands_that_exist(name):
    known = {path[0] for path in PATHS}
    found = re.findall(r"nextbest ([a-z]+)", (ROOT / name).read_text())
    used = {word for word in found if word not in {"is", "on", "trains", "relies"}}
    assert used
    assert used <= known


def test_the_documents_name_every_stack_and_every_kind_of_model_can_be_scheduled():
    text = (ROOT / "docs" / "stages.md").read_text(encoding="utf-8")
    names = {path.stem for path in (ROOT / "pipelines" / "stacks").glob("*.yaml")}
    assert len(names) == 4
    assert [name for name in sorted(names) if f"-{name}" not in text] == []
    told = CliRunner().invoke(GROUP, ["schedule", "set", "--help"]).output
    assert [kind for kind in KINDS if kind not in told] == []


def test_the_readme_names_every_group():
    text = (ROOT / "README.md").read_text()
    for path in PATHS:
        assert f"nextbest {path[0]}" in text, path[0]


def test_a_progress_bar_leaves_nothing_where_nobody_watches(capsys):
    """Regression: a nightly sync began its mail with an empty line."""
    with progress_bar() as bar:
        bar.update(bar.add_task("reading", total=1.0), completed=0.5)
    assert capsys.readouterr() == ("", "")
