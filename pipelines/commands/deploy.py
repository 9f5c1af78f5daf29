"""`nextbest deploy` and `nextbest tenant add | list | remove | credentials | token`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from pipelines import api, stacks
from pipelines.console import JsonOption, StageOption, console, print_json
from pipelines.stage import open_stage

tenant_app = typer.Typer(help="Tenants: own functions, roles, keys.", no_args_is_help=True)
TenantArgument = Annotated[str, typer.Argument(help="The tenant's name.")]


def _say(line: str) -> None:
    console.print(f"  {line}", markup=False)


def deploy(
    plan: Annotated[bool, typer.Option("--plan", help="Say what would change; change nothing.")] = (
        False
    ),
    stage: StageOption = None,
) -> None:
    """Make a stage what this source tree says, by CloudFormation."""
    where = open_stage(stage)
    if plan:
        sentences = stacks.plan_all(where)
        for sentence in sentences:
            _say(sentence)
        console.print(f"{len(sentences)} changes" if sentences else "nothing would change")
        return
    changed = stacks.deploy(where, progress=_say)
    console.print(f"stage {where.name} is deployed" if changed else "nothing to change")


@tenant_app.command("add")
def add(tenant: TenantArgument, stage: StageOption = None) -> None:
    """Create a tenant, or bring it up to date."""
    changed = stacks.add_tenant(open_stage(stage), tenant, progress=_say)
    console.print(f"tenant {tenant} is ready" if changed else f"tenant {tenant} was ready already")


@tenant_app.command("list")
def list_(stage: StageOption = None) -> None:
    """The tenants of a stage."""
    for tenant in stacks.tenants(open_stage(stage)):
        console.print(tenant)


@tenant_app.command("remove")
def remove(
    tenant: TenantArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    stage: StageOption = None,
) -> None:
    """Delete a tenant's functions, roles and schedules; its data and registered models stay."""
    where = open_stage(stage)
    stacks.require_stack(where, tenant)
    if not yes:
        typer.confirm(f"Delete the functions, roles and schedules of {tenant}?", abort=True)
    stacks.remove_tenant(where, tenant, progress=_say)


@tenant_app.command()
def credentials(
    tenant: TenantArgument, as_json: JsonOption = False, stage: StageOption = None
) -> None:
    """What a service needs to call the tenant's HTTP API; holds a secret."""
    found = dataclasses.asdict(api.access(open_stage(stage), tenant))
    if as_json:
        print_json(found)
        return
    for name, value in found.items():
        said = " ".join(value) if isinstance(value, tuple) else value
        console.print(f"{name:<14} {said}", markup=False, soft_wrap=True)


@tenant_app.command()
def token(tenant: TenantArgument, stage: StageOption = None) -> None:
    """A token for the tenant's HTTP API, good for an hour."""
    print(api.token(api.access(open_stage(stage), tenant)))
