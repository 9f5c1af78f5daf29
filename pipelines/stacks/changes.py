"""One CloudFormation stack: what would change, in words, and making it so, by change sets."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from pipelines.errors import DeployError
from pipelines.stage import Stage

FOLDER = Path(__file__).parent
Progress = Callable[[str], None]
_UNCHANGED = ("didn't contain changes", "No updates are to be performed", "no changes")
_VERBS = {"Add": "create", "Modify": "change", "Remove": "delete", "Import": "adopt"}
DEAD = ("ROLLBACK_COMPLETE", "ROLLBACK_FAILED", "DELETE_FAILED")


@dataclass(frozen=True)
class StackPlan:
    """What a change set would do; `changes` are sentences, none when nothing changes."""

    stack: str
    changes: tuple[str, ...]
    change_set: str | None
    type: str


def describe(client: Any, stack: str) -> dict[str, Any] | None:
    """The stack's description, or None when there is none."""
    try:
        found = dict(client.describe_stacks(StackName=stack)["Stacks"][0])
    except ClientError as error:
        if "does not exist" in str(error):
            return None
        raise
    return None if found["StackStatus"] == "REVIEW_IN_PROGRESS" else found


def plan(
    stage: Stage, stack: str, template: str, parameters: Mapping[str, str], *, tags: dict[str, str]
) -> StackPlan:
    """Make a change set and read it. The caller applies or drops it."""
    client = stage.client("cloudformation")
    found = describe(client, stack)
    if found is not None and found["StackStatus"] in DEAD:
        delete(stage, stack)  # what could not be made can only be made anew
        found = None
    kind = "UPDATE" if found else "CREATE"
    name = f"nextbest-{secrets.token_hex(4)}"
    client.create_change_set(
        StackName=stack,
        ChangeSetName=name,
        ChangeSetType=kind,
        TemplateBody=(FOLDER / template).read_text(encoding="utf-8"),
        Parameters=[
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ],
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
    )
    described = _await_change_set(client, stack, name, pause=_pause(stage))
    changes = tuple(_sentence(change["ResourceChange"]) for change in described["Changes"])
    if not changes:
        client.delete_change_set(StackName=stack, ChangeSetName=name)
        return StackPlan(stack, (), None, kind)
    return StackPlan(stack, changes, name, kind)


def _pause(stage: Stage) -> float:
    return 0.1 if stage.is_local else 2.0


def delete(stage: Stage, stack: str) -> None:
    """Delete a stack and wait for its end."""
    client = stage.client("cloudformation")
    client.delete_stack(StackName=stack)
    delay = {"Delay": 1 if stage.is_local else 10}
    client.get_waiter("stack_delete_complete").wait(StackName=stack, WaiterConfig=delay)


def _await_change_set(client: Any, stack: str, name: str, *, pause: float) -> dict[str, Any]:
    while True:
        found = dict(client.describe_change_set(StackName=stack, ChangeSetName=name))
        reason = str(found.get("StatusReason", ""))
        if found["Status"] == "FAILED":
            if any(text in reason for text in _UNCHANGED):
                return {"Changes": []}
            raise DeployError(f"stack {stack}: the change set failed: {reason}")
        if found["Status"] == "CREATE_COMPLETE":
            return found
        time.sleep(pause)


def _sentence(change: dict[str, Any]) -> str:
    verb = _VERBS.get(change["Action"], change["Action"].lower())
    if change.get("Replacement") == "True":
        verb = "replace"
    changed = sorted(
        {d["Target"]["Name"] for d in change.get("Details", []) if d["Target"].get("Name")}
    )
    what = f" ({', '.join(changed)})" if changed else ""
    return f"{verb} {change['LogicalResourceId']}, {change['ResourceType']}{what}"


def drop(stage: Stage, plan: StackPlan) -> None:
    """Forget a plan that is not wanted; a stack that never was goes too."""
    if plan.change_set is None:
        return
    client = stage.client("cloudformation")
    client.delete_change_set(StackName=plan.stack, ChangeSetName=plan.change_set)
    if plan.type == "CREATE":
        client.delete_stack(StackName=plan.stack)


def execute(stage: Stage, plan: StackPlan, *, progress: Progress) -> None:
    """Carry a plan out and wait for its end. Raises `DeployError` with the first failure."""
    if plan.change_set is None:
        progress(f"{plan.stack}: unchanged")
        return
    client = stage.client("cloudformation")
    client.execute_change_set(StackName=plan.stack, ChangeSetName=plan.change_set)
    status = "IN_PROGRESS"
    while status.endswith("IN_PROGRESS"):
        time.sleep(_pause(stage))
        status = client.describe_stacks(StackName=plan.stack)["Stacks"][0]["StackStatus"]
    if status not in ("CREATE_COMPLETE", "UPDATE_COMPLETE"):
        raise DeployError(f"stack {plan.stack} ended as {status}: {_first_failure(client, plan)}")
    progress(f"{plan.stack}: {len(plan.changes)} changes made")


def _first_failure(client: Any, plan: StackPlan) -> str:
    events = client.describe_stack_events(StackName=plan.stack)["StackEvents"]
    failed = [event for event in events if event["ResourceStatus"].endswith("FAILED")]
    if not failed:
        return "no reason given"
    first = failed[-1]
    return f"{first['LogicalResourceId']}: {first.get('ResourceStatusReason', 'no reason given')}"


def outputs(stage: Stage, stack: str) -> dict[str, str]:
    """A stack's outputs. Raises `DeployError` when it is not there."""
    found = describe(stage.client("cloudformation"), stack)
    if found is None:
        raise DeployError(
            f"stage {stage.name!r} is not deployed; run: nextbest deploy --stage {stage.name}"
        )
    return {item["OutputKey"]: item["OutputValue"] for item in found.get("Outputs", [])}
