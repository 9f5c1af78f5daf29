"""How often a nudge policy's interval holds its true value, over many loops with known truth.

    python -m tests.benchmarks.nudge_loop --seeds 10 --json FILE

The loop of `nextbest demo loop` without the cloud around it: the same audience, contract, draw,
jobs and gate, called in this process, so that many seeds can be afforded. Everything depends on
the seeds alone. A row a seed: the share of the way from uniform to the oracle that five weeks
went, and in how many of them the 95 % interval before the release held the truth.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from inference.guardrail_rules import GuardrailRules
from inference.nudge import Nudge
from inference.nudge_service import NudgeService
from inference.policy import Policy
from pipelines.demo import nudges
from pipelines.demo.loop import EVENLY, GUARDRAILS, PILOT, RETRAINING
from pipelines.demo.nudge_tour import probabilities
from pipelines.demo.weeks import Week, customer_id, live_through
from tests.benchmarks.rows import Row, peak_mb, write_rows
from tests.unit.training.nudge.jobs import run_jobs
from training.nudge.tables import NudgeDataset, build_nudge_dataset

BEGIN = datetime(2026, 11, 2, 12, tzinfo=UTC)
TENANT = "loop"


def dataset_of(log: list[pd.DataFrame], *, now: datetime) -> NudgeDataset:
    tables = {
        "nudges": pd.concat(log, ignore_index=True),
        "actions": pd.DataFrame(nudges.ACTIONS),
    }
    rules = msgspec.convert(GUARDRAILS, GuardrailRules)
    return build_nudge_dataset(tables, now=now, guardrails=rules)


def run_week(
    audience: nudges.Audience, policy: Policy, rows: np.ndarray, *, week: int, seed: int
) -> pd.DataFrame:
    """What the policy decides for the customers in `rows`, and what comes of it."""
    service = NudgeService(
        Nudge(policy, tenant=TENANT), run=f"run-{week}", version="1", log=lambda record: None
    )
    now = BEGIN + timedelta(weeks=week)

    def ask(request: Mapping[str, Any]) -> dict[str, Any]:
        return service.answer(dict(request), now=now, decision_id="")

    rng = np.random.default_rng([seed, 7, week])
    return table_of(audience, live_through(audience, rows, ask, key=f"week-{week}", rng=rng))


def table_of(audience: nudges.Audience, week: Week) -> pd.DataFrame:
    """The week as rows of the `nudges` table: decisions joined with what came of them."""
    frame = pd.DataFrame(
        {
            "decision_id": [answer["decision_id"] for answer in week.answers],
            "customer_id": [customer_id(row) for row in week.rows.tolist()],
            "timestamp": pd.to_datetime([a["decided_at"] for a in week.answers], utc=True),
            "action": [answer["action"] for answer in week.answers],
            "propensity": [answer["propensity"] for answer in week.answers],
            "reward": week.rewards,
            "eligible": ["|".join(answer["propensities"]) for answer in week.answers],
        }
    )
    context = audience.context.iloc[week.rows].reset_index(drop=True)
    return pd.concat([frame, context.add_prefix("context_")], axis=1)


class SimulatedLoop:
    """One loop in `folder`; week 0 is the pilot's. `live` is the folder of the released run."""

    def __init__(self, folder: Path, *, seed: int, weeks: int, customers: int) -> None:
        self.folder, self.seed, self.customers = folder, seed, customers
        self.audience = nudges.simulate_audience(seed=seed, customers=PILOT + weeks * customers)
        pilot = self.audience.of(np.arange(PILOT))
        self.log = [nudges.log_uniformly(pilot, seed=seed)]
        self.live = self._learn(0, EVENLY)[0]

    def cycle(self, week: int) -> bool:
        """A week and its run; whether the interval before the release held the truth."""
        first = PILOT + (week - 1) * self.customers
        rows = np.arange(first, first + self.customers)
        self.log.append(run_week(self.audience, self.policy, rows, week=week, seed=self.seed))
        root, found = self._learn(week, RETRAINING)
        said = found["metrics"]["models"]["challenger"]
        truth = value_of(Policy.open(root / "model"), self.audience)
        if found["gate"]["outcome"] == "passed":
            self.live = root
        return bool(said["low"] <= truth <= said["high"])

    @property
    def policy(self) -> Policy:
        return Policy.open(self.live / "model")

    @property
    def gap_closed(self) -> float:
        """Of the way from uniform to the oracle."""
        known = self.audience
        low = nudges.true_value(known, nudges.uniform(known))
        high = nudges.true_value(known, nudges.oracle(known))
        return (value_of(self.policy, known) - low) / (high - low)

    def _learn(self, week: int, settings: Mapping[str, Any]) -> tuple[Path, dict[str, Any]]:
        """Prepare, train and evaluate on all that was logged; what the jobs log is not shown."""
        root = self.folder / f"week-{week}"
        dataset = dataset_of(self.log, now=BEGIN + timedelta(weeks=week + 1))
        words = {key: str(value) for key, value in settings.items()}
        champion = self.live if week else None
        with contextlib.redirect_stdout(io.StringIO()):
            return root, run_jobs(root, dataset=dataset, champion=champion, **words)


def value_of(policy: Policy, audience: nudges.Audience) -> float:
    return nudges.true_value(audience, probabilities(policy, audience))


def run(*, seeds: int, weeks: int, customers: int) -> Iterator[Row]:
    """A row a seed."""
    for seed in range(seeds):
        began = time.process_time()
        with tempfile.TemporaryDirectory(prefix="nextbest-loop-") as folder:
            loop = SimulatedLoop(Path(folder), seed=seed, weeks=weeks, customers=customers)
            held = sum(loop.cycle(week) for week in range(1, weeks + 1))
            found = {"gap_closed": loop.gap_closed, "held": held, "cycles": weeks}
        seconds = round(time.process_time() - began, 1)
        yield Row("nudge-loop", f"seed {seed}", "nextbest", found, seconds, peak_mb())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--weeks", type=int, default=5)
    parser.add_argument("--customers", type=int, default=1500, help="A week.")
    parser.add_argument("--json", type=Path, help="Write the figures there.")
    given = parser.parse_args(arguments)
    rows = []
    for row in run(seeds=given.seeds, weeks=given.weeks, customers=given.customers):
        rows.append(row)
        print(row.set, json.dumps(row.metrics), f"{row.cpu_seconds} CPU s", flush=True)
    held = sum(row.metrics["held"] for row in rows)
    closed = [row.metrics["gap_closed"] for row in rows]
    print(
        f"gap closed: {np.mean(closed):.1%} on average, {min(closed):.1%} to {max(closed):.1%}; "
        f"intervals that held the truth: {held:.0f} of {given.seeds * given.weeks}"
    )
    if given.json:
        write_rows(given.json, rows)


if __name__ == "__main__":
    main()
