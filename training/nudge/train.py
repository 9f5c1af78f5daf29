"""Train: a prepared log → the policy that serves, and one for each fold that has not seen it.

A SageMaker training job. Leaves `model.tar.gz` (learned from everything, what goes live) and in
`output.tar.gz` a policy per fold, learned from the other folds: `Evaluate` values each part of the
log by a policy that never saw it. Same data, configuration and seed → the same bytes.
"""

from __future__ import annotations

import msgspec
from threadpoolctl import threadpool_limits

from training.configuration import parse
from training.errors import NotEnoughDataError
from training.job import Job
from training.nudge import policies
from training.nudge.configuration import NudgeConfiguration
from training.nudge.prepare import Prepared, load
from training.nudge.selection import Candidate, Choice, Trial, candidates, choose

FOLDS = "folds"
_FEWEST_IN_A_FOLD = 20


class _Checkpoint(msgspec.Struct, frozen=True):
    """The names of what was chosen: spares a restarted job the search."""

    by_fold: list[str]
    overall: str


def run(job: Job) -> None:
    with threadpool_limits(1):  # sums in one order: the same bits on every run
        _run(job)


def _run(job: Job) -> None:
    configuration = parse(NudgeConfiguration, job.settings, where="nudge-policy")
    prepared = load(job.channel("prepared"))
    _require_folds(prepared, configuration)
    choice = _chosen(job, prepared, configuration)
    provenance = {"tenant": job.tenant, "run": job.run, "created_at": job.started_at}
    for fold, candidate in enumerate(choice.by_fold):
        seen = prepared.take(prepared.folds != fold)
        built = policies.build(
            seen, candidate, configuration, salt=job.run, provenance={**provenance, "fold": fold}
        )
        policies.write(job.extra_output / FOLDS / f"fold-{fold}", built)
    built = policies.build(
        prepared, choice.overall, configuration, salt=job.run, provenance=provenance
    )
    policies.write(job.model, built)
    job.log("wrote a policy", decisions=len(prepared), learner=choice.overall.name)


def _require_folds(prepared: Prepared, configuration: NudgeConfiguration) -> None:
    smallest = min(int((prepared.folds == fold).sum()) for fold in range(configuration.folds))
    if smallest < _FEWEST_IN_A_FOLD:
        raise NotEnoughDataError(
            f"{len(prepared):,} decisions in {configuration.folds} folds by customer: the "
            f"smallest holds {smallest}, at least {_FEWEST_IN_A_FOLD} are needed. Log more "
            "customers, or --set folds=3"
        )


def _chosen(job: Job, prepared: Prepared, configuration: NudgeConfiguration) -> Choice:
    checkpoint = job.checkpoints / "learners.json"
    available = {c.name: c for c in candidates(configuration, action_count=len(prepared.names))}
    if checkpoint.exists():
        job.log("resumed from a checkpoint")
        return _resumed(msgspec.json.decode(checkpoint.read_bytes(), type=_Checkpoint), available)

    def report(trial: Trial) -> None:
        job.metric("validation_loss", trial.loss)
        job.log("tried", folds=trial.folds, learner=trial.name, loss=round(trial.loss, 6))

    choice = choose(prepared, configuration, report=report)
    names = _Checkpoint([c.name for c in choice.by_fold], choice.overall.name)
    checkpoint.write_bytes(msgspec.json.encode(names))
    job.log("chose", learner=names.overall, by_fold=names.by_fold)
    return choice


def _resumed(saved: _Checkpoint, available: dict[str, Candidate]) -> Choice:
    return Choice([available[name] for name in saved.by_fold], available[saved.overall])
