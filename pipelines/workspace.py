"""nextbest from Python: the same as the command line, for notebooks and scripts.

from pipelines.workspace import Workspace
shop = Workspace(tenant="acme")
run = shop.train("recommender", k=10).wait()
shop.decide({"history": ["lamp-1"], "limit": 5})
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from inference.model_store import fetch_model
from pipelines import apprentices, decisions, releases, runs, schedules
from pipelines.configuration import load_configuration
from pipelines.errors import ReleaseError, RunError
from pipelines.jobs import job_log
from pipelines.stage import IMAGE_MODEL, Stage, check_tenant, open_stage

if TYPE_CHECKING:
    from inference.visual import Visual

POLL_SECONDS_LOCAL = 0.3
POLL_SECONDS_AWS = 5.0


@dataclass(frozen=True)
class Run:
    """A run that was started or found; every property asks the stage anew."""

    stage: Stage
    name: str

    @property
    def view(self) -> runs.RunView:
        return runs.show_run(self.stage, self.name)

    def watch(self) -> Iterator[runs.RunView]:
        """Snapshots until the run has ended."""
        seconds = POLL_SECONDS_LOCAL if self.stage.is_local else POLL_SECONDS_AWS
        return runs.watch_run(self.stage, self.name, sleep=time.sleep, seconds=seconds)

    def wait(self, *, output: TextIO | None = sys.stdout) -> Run:
        """Wait for the end, printing each state as it is entered. Raises `RunError` if it failed.

        Interrupting the wait leaves the run running: `Workspace.run(name)` finds it again.
        """
        told = 0
        view = None
        for view in self.watch():
            for state in view.states[told:] if output else ():
                print(f"{state.entered_at:%H:%M:%S}  {state.name}", file=output, flush=True)
            told = len(view.states)
        if view is None or view.outcome is None:
            raise RunError(
                f"run {self.name} ended as {view.summary if view else 'unknown'}: "
                f"{view.error if view else ''}: {view.cause if view else ''}"
            )
        return self

    def stop(self) -> None:
        runs.stop_run(self.stage, self.name)

    def retry(self) -> Run:
        """A new run with the same data and configuration."""
        return Run(self.stage, runs.retry_run(self.stage, self.name))

    def logs(self) -> Iterator[str]:
        """Every line the run's jobs have logged, job by job."""
        for job in self.view.jobs:
            for at, line in job_log(self.stage, job):
                yield f"{at:%H:%M:%S} {job.name.removeprefix(self.name + '-')} {line}"

    def metrics(self) -> dict[str, Any]:
        """The evaluation's `metrics.json`: challenger, champion and baselines on one holdout."""
        return dict(self._evaluation("metrics.json"))

    def gate(self) -> dict[str, Any]:
        """The gate's verdict with every check it made."""
        return dict(self._evaluation("gate.json"))

    def golden(self) -> list[dict[str, Any]]:
        """The requests, with answers, that a version must reproduce before it goes live."""
        return self._evaluation("golden.json")

    def _evaluation(self, name: str) -> Any:
        tenant = self.view.tenant
        key = f"{self.stage.run_prefix(tenant, self.name)}/evaluation/{name}"
        s3 = self.stage.client("s3")
        try:
            body = s3.get_object(Bucket=self.stage.bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey as error:
            raise RunError(
                f"run {self.name} has no {name}: it did not come to the end of Evaluate"
            ) from error
        return json.loads(body)


class Workspace:
    """One tenant on one stage. `root` is the project's folder (`nextbest.toml`, `.nextbest/`)."""

    def __init__(
        self,
        stage: str | Stage | None = None,
        tenant: str = "demo",
        *,
        root: Path | None = None,
    ) -> None:
        self.root = root or Path.cwd()
        self.stage = stage if isinstance(stage, Stage) else open_stage(stage, root=self.root)
        self.tenant = check_tenant(tenant)

    def request(
        self,
        kind: str,
        settings: Mapping[str, Any],
        *,
        tuning_jobs: int | None = None,
        tuning_parallel: int | None = None,
        release: Literal["live", "apprentice"] = "live",
    ) -> runs.RunRequest:
        """What to train: the project's configuration with what is given laid over it."""
        project = load_configuration(self.root)
        return runs.RunRequest(
            kind=kind,
            tenant=self.tenant,
            settings={**project.defaults(kind), **settings},
            resources=runs.with_tuning_of(
                kind, project.runs, jobs=tuning_jobs, parallel=tuning_parallel
            ),
            release=release,
        )

    def train(
        self,
        kind: str = "recommender",
        *,
        tuning_jobs: int | None = None,
        tuning_parallel: int | None = None,
        release: Literal["live", "apprentice"] = "live",
        **settings: Any,
    ) -> Run:
        """Start a run on the tenant's newest data set; settings are the kind's configuration.

        With `tuning_jobs` a tuning job trains so many times, each from another seed of the search,
        `tuning_parallel` at a time, and the best one goes on; 0 trains once. A model `release`d as
        an apprentice watches the live one.
        """
        request = self.request(
            kind,
            settings,
            tuning_jobs=tuning_jobs,
            tuning_parallel=tuning_parallel,
            release=release,
        )
        return self.start(request)

    def start(self, request: runs.RunRequest) -> Run:
        """Start what `request` described."""
        return Run(self.stage, runs.start_run(self.stage, request))

    def run(self, name: str) -> Run:
        return Run(self.stage, name)

    def runs(self, *, limit: int = 20) -> list[runs.RunView]:
        return runs.list_runs(self.stage, tenant=self.tenant, limit=limit)

    def decide(
        self, request: Mapping[str, Any], *, decision: str = "next-best-product"
    ) -> dict[str, Any]:
        """The live model's answer to a request: of `next-best-product`, `nudge` or
        `similar-products`."""
        return decisions.decide(self.stage, self.tenant, request, decision=decision)

    def models(self, *, kind: str = "recommender") -> list[releases.ModelView]:
        return releases.list_models(self.stage, self.tenant, kind=kind)

    def image_model(self) -> Visual:
        """The live image model, opened here: its embeddings, and what it makes of pictures.

        Needs the extra `image`. Raises `ReleaseError` where none is live.
        """
        from inference.visual import Visual  # onnxruntime

        live = [model for model in self.models(kind=IMAGE_MODEL) if model.is_live]
        if not live:
            raise ReleaseError(
                f"no image model of {self.tenant} is live: nextbest train {IMAGE_MODEL}"
            )
        return Visual.open(fetch_model(live[0].model, s3=self.stage.client("s3")))

    def rollback(
        self, *, kind: str = "recommender", to_version: str | None = None
    ) -> releases.Rollback:
        return releases.rollback(self.stage, self.tenant, kind=kind, to_version=to_version)

    def agreement(self) -> apprentices.Agreement:
        """What the live nudge policy and its apprentice chose for the same customers."""
        return apprentices.agreement(self.stage, self.tenant)

    def promote_apprentice(self) -> str:
        """Make the apprentice live; the name of the release's execution."""
        return apprentices.promote(self.stage, self.tenant)

    def schedule(
        self,
        kind: str,
        *,
        every: str,
        release: Literal["live", "apprentice"] = "live",
        **settings: Any,
    ) -> schedules.ScheduleView:
        """Retrain on the newest data every `7d`, `12h` …"""
        request = self.request(kind, settings, release=release)
        events = load_configuration(self.root).events
        return schedules.set_schedule(
            self.stage, request, expression=schedules.rate(every), events=events
        )
