"""The tenants of a stage: which there are, and taking one away."""

from __future__ import annotations

from pipelines.errors import TenantError
from pipelines.schedules import list_schedules, remove_schedule
from pipelines.stacks.changes import DEAD, Progress, delete, describe
from pipelines.stage import Stage

_NONE = ("DELETE_COMPLETE", "REVIEW_IN_PROGRESS", *DEAD)


def tenants(stage: Stage) -> list[str]:
    """The tenants of a stage, by name; one whose stack could not be made is none."""
    client = stage.client("cloudformation")
    prefix = stage.tenant_stack("x")[:-1]
    pages = client.get_paginator("describe_stacks").paginate()
    stacks = [stack for page in pages for stack in page["Stacks"]]
    names = [s["StackName"] for s in stacks if s["StackStatus"] not in _NONE]
    return sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))


def require_stack(stage: Stage, tenant: str) -> str:
    """The status of the tenant's stack, be it one that could not be made; else `TenantError`."""
    stack = describe(stage.client("cloudformation"), stage.tenant_stack(tenant))
    if stack is None:
        raise _none(stage, tenant)
    return str(stack["StackStatus"])


def require_tenant(stage: Stage, tenant: str) -> None:
    """Raise `TenantError` unless the tenant exists on the stage."""
    status = require_stack(stage, tenant)
    if status in DEAD:
        raise _none(stage, tenant, f", its stack ended as {status}")


def _none(stage: Stage, tenant: str, why: str = "") -> TenantError:
    known = ", ".join(tenants(stage)) or "none"
    return TenantError(
        f"there is no tenant {tenant!r} on stage {stage.name!r}{why} (known: {known}); "
        f"run: nextbest tenant add {tenant}"
    )


def remove_tenant(stage: Stage, tenant: str, *, progress: Progress) -> None:
    """Delete a tenant's stack, also one that could not be made: functions, roles, HTTP API; before
    it the tenant's schedules.

    Its data in the bucket and its registered models stay, and are there when it is added again.
    """
    require_stack(stage, tenant)
    for schedule in list_schedules(stage, tenant=tenant):
        remove_schedule(stage, tenant, kind=schedule.kind)
        progress(f"{schedule.kind} is no longer scheduled")
    stack = stage.tenant_stack(tenant)
    delete(stage, stack)
    progress(f"{stack}: deleted; its data stays in {stage.bucket}, its models in the registry")
