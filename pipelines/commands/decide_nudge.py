"""`nextbest decide nudge`: ask a live policy what to do for a customer, as a shop would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pipelines.console import (
    JsonOption,
    StageOption,
    TenantOption,
    console,
    errors,
    print_json,
)
from pipelines.decisions import decide
from pipelines.errors import DecisionError
from pipelines.stage import open_stage


def nudge(
    tenant: TenantOption,
    customer: Annotated[str, typer.Option(help="The customer's id.")],
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A number, true, false or text; repeatable."),
    ] = None,
    actions: Annotated[str, typer.Option(help="Only these: A,B. Default: all it knows.")] = "",
    consent: Annotated[
        list[str] | None,
        typer.Option(metavar="CHANNEL", help="A channel the customer agreed to; repeatable."),
    ] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="The customer's, e.g. Europe/Paris.")
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(help="A JSON file: consents, attributes, contacts, conversions, time_zone."),
    ] = None,
    key: Annotated[
        str | None, typer.Option(help="The decision key: the same key, the same answer.")
    ] = None,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """Which action for this customer now, or none, with the chances it was drawn by."""
    request: dict[str, Any] = {"customer_id": customer, "context": _values(context)}
    known = _profile(profile, consent or [])
    request |= {"profile": known} if known is not None else {}
    request |= {"actions": [a.strip() for a in actions.split(",") if a.strip()]} if actions else {}
    request |= {"time_zone": time_zone} if time_zone else {}
    request |= {"decision_key": key} if key else {}
    answer = decide(open_stage(stage), tenant, request, decision="nudge")
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    if "error" in answer:
        raise typer.Exit(2)


def _values(pairs: list[str] | None) -> dict[str, Any]:
    """`age=37` is a number, `member=true` a flag, anything else text."""
    values: dict[str, Any] = {}
    for pair in pairs or []:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise DecisionError(f"{pair!r} is no context; expected NAME=VALUE, e.g. age=37")
        values[name] = _value(text)
    return values


def _value(text: str) -> Any:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return text
    return found if isinstance(found, bool | int | float) else text


def _profile(path: Path | None, consents: list[str]) -> dict[str, Any] | None:
    """The profile of the request; None leaves it to the function's own store."""
    if path is None and not consents:
        return None
    try:
        profile = json.loads(path.read_text(encoding="utf-8")) if path else {}
    except (OSError, ValueError) as error:
        raise DecisionError(f"{path} is no readable JSON file: {error}") from error
    if not isinstance(profile, dict):
        raise DecisionError(f"{path} holds no JSON object; see docs/nudges.md")
    agreed = {**profile.get("consents", {}), **dict.fromkeys(consents, True)}
    return {**profile, "consents": agreed}


def _print(answer: dict[str, Any]) -> None:
    if "error" in answer:
        error = answer["error"]
        said = f"{error['code']} at {error['path']}: {error['message']}"
        errors.print(said, style="red", markup=False)
        return
    chance = f"drawn with probability {answer['propensity']:.3f}"
    console.print(f"[bold]{escape(answer['action'])}[/], {chance}")
    console.print(render_nudge(answer))
    for note in _notes(answer):
        console.print(note, style="dim", markup=False)


def render_nudge(answer: dict[str, Any]) -> Table:
    """Every action of an answer: its value and probability, or why it was excluded."""
    table = Table("action", "value", "probability", "excluded by", box=None, pad_edge=False)
    for action, probability in answer["propensities"].items():
        value = answer["values"].get(action)
        shown = "" if value is None else f"{value:.4f}"
        name = f"[bold]{escape(action)}[/]" if action == answer["action"] else escape(action)
        table.add_row(name, shown, f"{probability:.4f}", "")
    for excluded in answer["excluded"]:
        why = f"{excluded['rule']}: {excluded['detail']}"
        table.add_row(escape(excluded["action"]), "", "", escape(why), style="dim")
    return table


def _notes(answer: dict[str, Any]) -> list[str]:
    notes = [f"policy version {answer['model_version']}, run {answer['run']}"]
    notes.append(f"decision {answer['decision_id']}, valid until {answer['expires_at']}")
    if answer["holdout"]:
        notes.append("the customer is in the global holdout: always none")
    for field, said in (
        ("unknown_context", "unknown to the policy"),
        ("missing_context", "not told, taken as missing"),
    ):
        if answer[field]:
            notes.append(f"{said}: {', '.join(answer[field])}")
    if answer["degraded"]:
        notes.append("the profile store did not answer; what it could forbid was excluded")
    return notes
