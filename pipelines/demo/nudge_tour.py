"""The demo's nudges: a campaign drawn by chance → a policy → its estimate beside the truth.

Called by the tour. The audience is simulated, so what off-policy evaluation says from the log can
be held against what the live policy is truly worth.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

import numpy as np
from rich.console import Console
from rich.table import Table

from inference.artifact import unpack
from inference.policy import Policy
from pipelines import data
from pipelines.commands.decide_nudge import render_nudge
from pipelines.demo import nudges
from pipelines.demo.nudges import Audience
from pipelines.errors import RunError
from pipelines.releases import require_live
from pipelines.stage import Stage
from pipelines.workspace import Run, Workspace

KIND = "nudge-policy"
NOON = nudges.END.replace(hour=12).isoformat()
_TOLERANCE = 1e-6


class StepTimer(Protocol):
    """Times and announces a step of the tour."""

    def step(self, name: str) -> AbstractContextManager[None]: ...


@dataclass(frozen=True)
class Truth:
    """True values per decision, in sales, over the whole audience."""

    uniform: float
    best_action: str
    best_constant: float
    live: float
    oracle: float

    @property
    def gap_closed(self) -> float:
        """Of the way from uniform to the oracle, the share the live policy went."""
        return (self.live - self.uniform) / (self.oracle - self.uniform)


def tour_nudges(workspace: Workspace, steps: StepTimer, console: Console) -> Truth:
    """Import, train, release, ask, and compare with the truth. Raises when a step falls short."""
    with steps.step("Import a nudge campaign's log, in which chance chose"):
        audience = _import(workspace, console)
    with steps.step("Learn a nudge policy, value it off-policy, gate and release"):
        run = train_to_end(workspace, KIND, nudges.SETTINGS, console)
    with steps.step("Ask the live policy, and hold the estimates against the truth"):
        policy = live_policy(workspace.stage, workspace.tenant)
        _ask(workspace, policy, audience, console)
        truth = truth_of(policy, audience)
        console.print(render_truth(truth, run.metrics()["models"]))
        said = (
            f"  the live policy goes {truth.gap_closed:.0%} of the way from uniform to the oracle"
        )
        console.print(said)
    return truth


def _import(workspace: Workspace, console: Console) -> Audience:
    with tempfile.TemporaryDirectory(prefix="nextbest-demo-") as folder:
        audience = nudges.write_nudges(Path(folder))
        imported = data.import_datasets(workspace.stage, Path(folder), tenant=workspace.tenant)[0]
    console.print(f"  {imported.profile['rows']:,} decisions", style="dim")
    return audience


def train_to_end(
    workspace: Workspace, kind: str, settings: Mapping[str, Any], console: Console
) -> Run:
    """A run that was released or refused. Raises `RunError` for any other end."""
    run = workspace.train(kind, **settings)
    console.print(f"  run {run.name}")
    run.wait()
    view = run.view
    for reason in view.reasons:
        console.print(f"  {reason}", markup=False)
    if view.outcome not in ("released", "refused"):
        raise RunError(f"run {run.name} ended as {view.summary}; nothing new is live")
    return run


def live_policy(stage: Stage, tenant: str) -> Policy:
    """The policy that is live, opened here from the artefact its version is pinned to."""
    live = require_live(Workspace(stage, tenant).models(kind=KIND), tenant=tenant, kind=KIND)
    return open_policy(stage, live.model)


def open_policy(stage: Stage, model: str) -> Policy:
    """The policy in the `model.tar.gz` at an S3 address."""
    address = urlparse(model)
    with tempfile.TemporaryDirectory(prefix="nextbest-policy-") as name:
        folder = Path(name)
        archive = folder / "model.tar.gz"
        stage.client("s3").download_file(address.netloc, address.path.lstrip("/"), str(archive))
        unpack(archive, folder / "model")
        return Policy.open(folder / "model")


def probabilities(policy: Policy, audience: Audience) -> np.ndarray:
    """The policy's chances for everyone over what consent allows, (n, actions)."""
    x = policy.encoder.encode_columns(dict(audience.context), len(audience.context))
    order = [policy.actions.index(name) for name in nudges.NAMES]
    back = [nudges.NAMES.index(name) for name in policy.actions]
    return policy.distribution(x, eligible=audience.eligible[:, back])[:, order]


def truth_of(policy: Policy, audience: Audience) -> Truth:
    """What the policy is truly worth, beside uniform, best constant and oracle."""
    best = nudges.best_constant(audience)
    return Truth(
        uniform=nudges.true_value(audience, nudges.uniform(audience)),
        best_action=best,
        best_constant=nudges.true_value(audience, nudges.constant(audience, best)),
        live=nudges.true_value(audience, probabilities(policy, audience)),
        oracle=nudges.true_value(audience, nudges.oracle(audience)),
    )


def _ask(workspace: Workspace, policy: Policy, audience: Audience, console: Console) -> None:
    """Three customers asked through the Lambda: its chances must be the artefact's."""
    chances = probabilities(policy, audience)
    reachable = audience.eligible.all(axis=1)
    ignored = audience.context["ignored_mails"].to_numpy()
    recency = audience.context["recency_days"].to_numpy()
    for title, customer in (
        ("somebody who has ignored many mails", int((ignored * reachable).argmax())),
        ("somebody long gone", int((recency * reachable).argmax())),
        ("somebody who said no to everything", int(audience.eligible.sum(axis=1).argmin())),
    ):
        request = {
            "customer_id": f"customer-{customer}",
            "context": nudges.context_of(audience, customer),
            "profile": nudges.profile_of(audience, customer),
            "now": NOON,
        }
        answer = workspace.decide(request, decision="nudge")
        expected = dict(zip(nudges.NAMES, chances[customer].tolist(), strict=True))
        _require_same(answer, expected, request)
        drawn = f"{answer['action']}, drawn with probability {answer['propensity']:.3f}"
        console.print(f"  [bold]{title}[/]: {drawn}")
        console.print(render_nudge(answer))


def _require_same(
    answer: dict[str, Any], expected: dict[str, float], request: dict[str, Any]
) -> None:
    found = answer.get("propensities", {})
    off = [abs(found.get(name, 0.0) - chance) for name, chance in expected.items()]
    if "error" in answer or max(off) > _TOLERANCE:
        raise RunError(f"the live Lambda answers {answer} to {request}; expected {expected}")


def render_truth(truth: Truth, models: dict[str, dict[str, float]]) -> Table:
    """Each policy's true value beside what the log alone said of it."""
    constant = f"always {truth.best_action}"
    rows = (
        ("uniform, as in the campaign", truth.uniform, models.get("uniform")),
        (constant, truth.best_constant, models.get(constant)),
        ("the live policy", truth.live, models.get("challenger")),
        ("the oracle", truth.oracle, None),
    )
    columns = ("policy", "true value", "from the log", "95 % interval")
    table = Table(*columns, box=None, pad_edge=False)
    for name, value, found in rows:
        told = f"{found['value']:.4f}" if found else ""
        interval = f"[{found['low']:.4f}, {found['high']:.4f}]" if found else ""
        table.add_row(name, f"{value:.4f}", told, interval.replace("[", r"\["))
    return table
