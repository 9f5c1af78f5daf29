"""One kind of model in the tour: train it to its end, ask what is live. Called by the tour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from pipelines import data
from pipelines.commands.decide import render_products
from pipelines.commands.decide_nudge import render_nudge
from pipelines.commands.decide_similar import render_similar
from pipelines.commands.runs import last_line, render_metrics
from pipelines.errors import RunError
from pipelines.releases import DECISION_OF
from pipelines.runs import RunView
from pipelines.stage import IMAGE_MODEL, NUDGE_POLICY, RECOMMENDER
from pipelines.workspace import Run, Workspace

# As with the simulated shop: a recommender takes the image model's embeddings in.
ORDER = (IMAGE_MODEL, RECOMMENDER, NUDGE_POLICY)
_NEEDS_IMAGES = "an image model needs PyTorch, which is not installed; add it with: make images"
_RENDER = {
    RECOMMENDER: render_products,
    NUDGE_POLICY: render_nudge,
    IMAGE_MODEL: render_similar,
}


def check_source(source: Path, *, can_learn_pictures: bool) -> None:
    """Raise `RunError` for pictures alone where nothing can learn them: before anything starts."""
    if not can_learn_pictures and data.pictures_in(source) is not None:
        raise RunError(f"{source} holds pictures; {_NEEDS_IMAGES}")


def learnable(kinds: Iterable[str], console: Console, *, can_learn_pictures: bool) -> list[str]:
    """The kinds to train, in order; pictures are left out, with a word, where nothing can."""
    found = [kind for kind in ORDER if kind in set(kinds)]
    if IMAGE_MODEL not in found or can_learn_pictures:
        return found
    if found == [IMAGE_MODEL]:
        raise RunError(f"the pictures are imported; {_NEEDS_IMAGES}")
    console.print(f"  the pictures are left out: {_NEEDS_IMAGES}")
    return [kind for kind in found if kind != IMAGE_MODEL]


def counted(profile: dict[str, Any]) -> str:
    """How much was imported, by what it is."""
    table = profile.get("table")
    if table == "pictures":
        return f"{profile['pictures']:,} pictures"
    return f"{profile['rows']:,} {'decisions' if table == 'nudges' else 'interactions'}"


def train(workspace: Workspace, kind: str, console: Console) -> Run:
    """A run that was released or refused, followed. Raises `RunError` for any other end."""
    run = workspace.train(kind)
    console.print(f"  run {run.name}")
    view = _follow(run, console)
    if view.outcome == "refused":
        for reason in view.reasons:
            console.print(f"  {reason}", markup=False)
    if view.outcome not in ("released", "refused"):
        why = f": {view.error}: {view.cause}" if view.error else ""
        raise RunError(f"run {run.name} ended as {view.summary}{why}; nothing new is live")
    console.print(render_metrics(run.metrics()))
    return run


def _follow(run: Run, console: Console) -> RunView:
    """Wait for the end: a line a state, and below them what the job under way says."""
    told = 0
    with console.status("") as status:
        for view in run.watch():
            for state in view.states[told:]:
                console.print(f"  {state.entered_at:%H:%M:%S}  {state.name}", style="dim")
            told = len(view.states)
            status.update(f"[dim]{escape(last_line(run.stage, view) or run.name)}[/]")
    return run.view


def ask(workspace: Workspace, run: Run, console: Console) -> None:
    """What the live Lambda answers; nothing where the gate refused and none was live before."""
    kind = run.view.kind
    if not any(model.is_live for model in workspace.models(kind=kind)):
        console.print(f"  the gate refused the first {kind}: none is live that could be asked")
        return
    for title, request in requests(kind, run.golden()):
        answer = workspace.decide(request, decision=DECISION_OF[kind])
        if "error" in answer or not answer.get("products", answer.get("propensities")):
            raise RunError(f"the live Lambda has no answer to {request}: {answer}")
        console.print(f"  [bold]{escape(title)}[/]")
        console.print(_RENDER[kind](answer))


def requests(kind: str, golden: list[dict[str, Any]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """What to ask, of a run's golden requests, each with its title."""
    first = golden[0]["request"]
    if kind == IMAGE_MODEL:
        yield f"what looks like {first['product']}", {"product": first["product"], "limit": 5}
    elif kind == NUDGE_POLICY:
        yield "somebody of the log who consents to everything", first
    else:
        histories = [case["request"].get("history", []) for case in golden]
        known = next((history for history in histories if len(history) > 1), None)
        if known is not None:
            yield "a customer with a history", {"history": known[-5:], "limit": 5}
        yield "somebody new", {"limit": 3}
