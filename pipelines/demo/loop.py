"""Decide, see what comes of it, learn, release, decide better: the loop, with known truth.

A pilot that chance decided makes the first policy, which draws evenly. Then week by week customers
ask the deployed Lambda and react as the simulator knows they do: decisions go to the archive by
themselves, rewards as events. At the week's end the schedule syncs and starts a run on all that was
seen, and what passes the gate decides the next week. Off-policy
estimates stand beside what the simulator knows.
"""

from __future__ import annotations

import functools
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines import data, decisions, events, stacks
from pipelines.demo import nudges
from pipelines.demo.archived import Archived
from pipelines.demo.nudge_tour import open_policy, probabilities
from pipelines.demo.weeks import Ask, Week, live_through, logged_of, rewards_of
from pipelines.errors import RunError
from pipelines.releases import require_live
from pipelines.schedules import rate, run_schedule, set_schedule
from pipelines.stage import NUDGE_POLICY, Stage
from pipelines.workspace import Run, Workspace

PILOT = 600
# No quiet hours: a simulated week takes seconds of one real hour, whichever it is.
GUARDRAILS: dict[str, Any] = {"caps": nudges.GUARDRAILS["caps"]}
# A policy that draws evenly is no better than the pilot that drew evenly: its gate is left open.
EVENLY: dict[str, Any] = {**nudges.SETTINGS, "epsilon": 1.0, "gate_margin": -1000.0}
# What ran includes the champion and its exploration: a successor need not be proven better than
# that, only, at 95 %, not to lose more than this per decision. The champion's own check stays.
RETRAINING: dict[str, Any] = {**nudges.SETTINGS, "gate_margin": -0.05}
# A simulated week has seconds: what a customer does, he does at once.
WAIT_SECONDS = 2.0
EVENTS: dict[str, Any] = dict.fromkeys(
    ("attribution_hours", "reward_wait_hours"), WAIT_SECONDS / 3600
)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Cycle:
    """A week and the run at its end. Values are per decision, in sales.

    `live` is the true value of the policy that decided, `earned` what came in; of the run's
    challenger `estimate`, `low` and `high` are what the log said before the release (95 %), and
    `truth` what the simulator says.
    """

    week: int
    live: float
    earned: float
    run: str
    outcome: str
    estimate: float
    low: float
    high: float
    truth: float

    @property
    def holds(self) -> bool:
        """Whether the interval holds the truth."""
        return self.low <= self.truth <= self.high


@dataclass(frozen=True)
class Story:
    """The whole loop: `final` is the true value of what is live at its end."""

    uniform: float
    best_action: str
    best_constant: float
    oracle: float
    cycles: tuple[Cycle, ...]
    final: float

    @property
    def gap_closed(self) -> float:
        """Of the way from uniform to the oracle, the share that the loop has gone."""
        return (self.final - self.uniform) / (self.oracle - self.uniform)

    @property
    def held(self) -> int:
        """In how many cycles the estimate's interval held the truth."""
        return sum(cycle.holds for cycle in self.cycles)


class Loop:
    """A tenant whose customers and their reactions are simulated."""

    def __init__(self, workspace: Workspace, *, weeks: int, customers: int, seed: int) -> None:
        self.workspace = workspace
        self.weeks = weeks
        self.customers = customers
        self.seed = seed
        self.audience = nudges.simulate_audience(seed=seed, customers=PILOT + weeks * customers)
        self._decisions, self._rewards = (
            Archived(workspace.stage, workspace.tenant, table) for table in ("decisions", "rewards")
        )
        client = workspace.stage.client("lambda")
        self._ask: Ask = functools.partial(
            decisions.decide, workspace.stage, workspace.tenant, decision="nudge", client=client
        )

    def begin(self, say: Say) -> None:
        """The pilot, the policy that draws evenly, and the schedule."""
        self._import_pilot()
        run = self.workspace.train(NUDGE_POLICY, **EVENLY)
        say(f"run {run.name} on {PILOT} decisions that chance made: a policy that draws evenly")
        _finish(run, expected=("released",))
        request = self.workspace.request(NUDGE_POLICY, RETRAINING)
        set_schedule(self.workspace.stage, request, expression=rate("7d"), events=EVENTS)

    def cycle(self, number: int, *, seen: Callable[[int], None], say: Say) -> Cycle:
        """Week `number`, counted from 1, and the run that the schedule starts at its end."""
        live = self.true_value()
        week = self._week(number, seen=seen)
        say(f"{len(week.rows):,} customers came, {week.earned:.4f} sales earned per decision")
        self._send_rewards(week)
        stage, tenant = self.workspace.stage, self.workspace.tenant
        run = Run(stage, run_schedule(stage, tenant, kind=NUDGE_POLICY))
        say(f"run {run.name}")
        outcome = _finish(run, expected=("released", "refused"))
        said = run.metrics()["models"]["challenger"]
        return Cycle(
            week=number,
            live=live,
            earned=week.earned,
            run=run.name,
            outcome=outcome,
            estimate=said["value"],
            low=said["low"],
            high=said["high"],
            truth=self._value_of(_artifact(run)),
        )

    def story(self, cycles: tuple[Cycle, ...]) -> Story:
        """What the cycles come to, beside what the simulator knows."""
        audience, best = self.audience, nudges.best_constant(self.audience)
        return Story(
            uniform=nudges.true_value(audience, nudges.uniform(audience)),
            best_action=best,
            best_constant=nudges.true_value(audience, nudges.constant(audience, best)),
            oracle=nudges.true_value(audience, nudges.oracle(audience)),
            cycles=cycles,
            final=self.true_value(),
        )

    def true_value(self) -> float:
        """What the live policy is truly worth per decision, over the whole audience."""
        models = self.workspace.models(kind=NUDGE_POLICY)
        tenant = self.workspace.tenant
        return self._value_of(require_live(models, tenant=tenant, kind=NUDGE_POLICY).model)

    def _value_of(self, model: str) -> float:
        policy = open_policy(self.workspace.stage, model)
        return nudges.true_value(self.audience, probabilities(policy, self.audience))

    def _week(self, number: int, *, seen: Callable[[int], None]) -> Week:
        first = PILOT + (number - 1) * self.customers
        rows = np.arange(first, first + self.customers)
        rng = np.random.default_rng([self.seed, 7, number])
        key = f"week-{number}"
        return live_through(self.audience, rows, self._ask, key=key, rng=rng, seen=seen)

    def _send_rewards(self, week: Week) -> None:
        """Put what came of the week on the stream, and wait until the archive has all of it."""
        rewards = rewards_of(week, tenant=self.workspace.tenant)
        events.put(self.workspace.stage, (json.dumps(found).encode() for found in rewards))
        over = time.monotonic() + WAIT_SECONDS + 1.0
        self._decisions.wait_for(logged_of(week))
        self._rewards.wait_for(found["event_id"] for found in rewards)
        time.sleep(max(0.0, over - time.monotonic()))

    def _import_pilot(self) -> None:
        """What chance decided, with the actions and the guardrails."""
        pilot = self.audience.of(np.arange(PILOT))
        with tempfile.TemporaryDirectory(prefix="nextbest-loop-") as name:
            folder = Path(name)
            log = nudges.log_uniformly(pilot, seed=self.seed)
            log.to_parquet(folder / "nudges.parquet", index=False)
            pd.DataFrame(nudges.ACTIONS).to_parquet(folder / "actions.parquet", index=False)
            (folder / "guardrails.json").write_text(json.dumps(GUARDRAILS), encoding="utf-8")
            data.import_datasets(self.workspace.stage, folder, tenant=self.workspace.tenant)


def _finish(run: Run, *, expected: tuple[str, ...]) -> str:
    """Wait for a run's end; its outcome. Raises `RunError` for one that is not `expected`."""
    run.wait(output=None)
    view = run.view
    if view.outcome not in expected:
        why = "; ".join(view.reasons) or f"{view.error}: {view.cause}"
        raise RunError(f"run {run.name} ended as {view.summary}, expected {expected}: {why}")
    return view.outcome


def _artifact(run: Run) -> str:
    """Where the model of a run is, released or not."""
    client = run.stage.client("sagemaker")
    trained = [job for job in run.view.jobs if job.type == "training"][-1]
    described = client.describe_training_job(TrainingJobName=trained.name)
    return str(described["ModelArtifacts"]["S3ModelArtifacts"])


def new_tenant(stage: Stage, *, progress: Say) -> str:
    """A tenant of the loop's own: loop-1, or the first number that is free."""
    known = set(stacks.tenants(stage))
    number = next(n for n in range(1, len(known) + 2) if f"loop-{n}" not in known)
    stacks.add_tenant(stage, f"loop-{number}", progress=progress)
    return f"loop-{number}"
