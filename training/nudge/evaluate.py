"""Evaluate: what the new policy would have earned on the log, and whether it may go live.

A SageMaker processing job. Reads `prepared`, `model` (both archives of Train) and `champion` (the
same of what is live, or nothing); writes `metrics.json`, `gate.json` and `golden.json` to the
output `evaluation`.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from inference.artifact import unpack
from inference.errors import ArtifactError
from inference.policy import Policy
from training.configuration import parse
from training.job import Job
from training.nudge.bounds import Groups
from training.nudge.calibration import calibration_of, uplift_of
from training.nudge.champion import champion_probabilities
from training.nudge.configuration import NudgeConfiguration
from training.nudge.gate import verdict
from training.nudge.golden import golden_requests
from training.nudge.off_policy import CHOSEN, Estimate, Log, Terms, dr, estimate
from training.nudge.prepare import Prepared, load
from training.nudge.selection import examples_of
from training.nudge.support import Support, support_of
from training.nudge.train import FOLDS
from training.nudge.valuation import (
    Economy,
    OutOfFold,
    constant_policy,
    difference,
    economy_of,
    log_of,
    out_of_fold,
    uniform_policy,
)

LOGGING = "logging policy"


@dataclass(frozen=True)
class Evaluation:
    """Everything a report is made of, for one log and one family of fold policies."""

    prepared: Prepared
    configuration: NudgeConfiguration
    economy: Economy
    log: Log
    groups: Groups
    unseen: OutOfFold
    support: Support


def run(job: Job) -> None:
    configuration = parse(NudgeConfiguration, job.settings, where="nudge-policy")
    prepared = load(job.channel("prepared"))
    scratch = job.output("scratch")
    serving = open_serving(job.channel("model"), scratch / "challenger")
    folds = open_folds(job.channel("model"), scratch / "challenger")
    if serving is None or len(folds) != configuration.folds:
        raise ArtifactError("Train left no model.tar.gz, or an output.tar.gz without its folds")
    evaluation = evaluate(prepared, folds, configuration)
    champion = open_serving(job.channel("champion"), scratch / "champion")
    metrics, gate = report(evaluation, champion)
    golden = golden_requests(
        serving, prepared, tenant=job.tenant, now=datetime.fromisoformat(job.started_at)
    )
    folder = job.output("evaluation")
    for name, content in (("metrics", metrics), ("gate", gate), ("golden", golden)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    job.log("evaluated", outcome=gate["outcome"], reasons=gate["reasons"])


def open_serving(channel: Path, scratch: Path) -> Policy | None:
    """The policy in `model.tar.gz`, or None where there is none."""
    if not (channel / "model.tar.gz").exists():
        return None
    unpack(channel / "model.tar.gz", scratch / "serving")
    return Policy.open(scratch / "serving")


def open_folds(channel: Path, scratch: Path) -> list[Policy]:
    """The folds' policies in `output.tar.gz`, in order."""
    if not (channel / "output.tar.gz").exists():
        return []
    unpack(channel / "output.tar.gz", scratch / "extra")
    found = [path.parent for path in (scratch / "extra").rglob("manifest.json")]
    ours = [folder for folder in found if folder.parent.name == FOLDS]
    return [Policy.open(f) for f in sorted(ours, key=lambda f: int(f.name.removeprefix("fold-")))]


def evaluate(
    prepared: Prepared, folds: list[Policy], configuration: NudgeConfiguration
) -> Evaluation:
    """The log seen through the fold policies."""
    economy = economy_of(prepared, worth=configuration.reward_worth)
    log = log_of(prepared, economy)
    unseen = out_of_fold(prepared, folds, economy)
    groups = Groups.of(prepared.customers)
    return Evaluation(
        prepared=prepared,
        configuration=configuration,
        economy=economy,
        log=log,
        groups=groups,
        unseen=unseen,
        support=_support(prepared, log, unseen, groups),
    )


def _support(prepared: Prepared, log: Log, unseen: OutOfFold, groups: Groups) -> Support:
    return support_of(
        log, unseen.probabilities, prepared.rewards, groups=groups, names=prepared.names
    )


def report(
    evaluation: Evaluation, champion: Policy | None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """`metrics.json` and `gate.json`."""
    prepared, configuration = evaluation.prepared, evaluation.configuration
    constants = constant_values(evaluation)
    best = max(constants, key=lambda name: constants[name])
    comparisons = {
        LOGGING: compare(evaluation, None),
        f"best constant action ({best})": compare(evaluation, _constant(evaluation, best)),
    }
    champion_note = "none live"
    if champion is not None:
        champion_note = _add_champion(evaluation, champion, comparisons)
    estimates = _estimates(evaluation, evaluation.unseen.probabilities)
    metrics = {
        "protocol": _protocol(evaluation, champion_note),
        "decisions": len(prepared),
        "models": _models(evaluation, estimates, best),
        "estimates": {name: asdict(found) for name, found in estimates.items()},
        "comparisons": comparisons,
        "constants": constants,
        "support": evaluation.support.as_json(),
        "calibration": calibration_of(prepared, evaluation.unseen.rewards),
        "uplift": uplift_of(
            prepared, evaluation.unseen.rewards, reference=examples_of(prepared).reference
        ),
        "shares": _shares(evaluation),
        "suppressed": prepared.meta.get("suppressed", 0),
        "notes": prepared.meta["notes"],
    }
    return metrics, verdict(evaluation.support, comparisons, configuration)


def constant_values(evaluation: Evaluation) -> dict[str, float]:
    """Doubly robust value of always taking each action that was ever logged."""
    logged = np.unique(evaluation.prepared.actions)
    names = evaluation.prepared.names
    return {
        names[code]: dr(
            evaluation.log, _constant(evaluation, names[code]), evaluation.unseen.gains
        ).value
        for code in logged.tolist()
    }


def _constant(evaluation: Evaluation, name: str) -> np.ndarray:
    prepared = evaluation.prepared
    reference = examples_of(prepared).reference
    return constant_policy(prepared, prepared.names.index(name), otherwise=reference)


def compare(evaluation: Evaluation, other: np.ndarray | None) -> dict[str, float]:
    """The new policy less another one (None: the logging policy), with honest bounds."""
    found = difference(
        evaluation.log,
        evaluation.unseen.probabilities,
        other,
        evaluation.unseen.gains,
        economy=evaluation.economy,
        groups=evaluation.groups,
    )
    configuration = evaluation.configuration
    return dict(found.as_json(confidence=configuration.gate_confidence, seed=configuration.seed))


def _add_champion(
    evaluation: Evaluation, champion: Policy, comparisons: dict[str, dict[str, float]]
) -> str:
    """Compare with the live policy on rows it has not seen; says how, or why not."""
    found = champion_probabilities(champion, evaluation.prepared)
    if found.rows is None:
        return found.note
    rows = found.rows
    part = evaluate_rows(evaluation, rows)
    comparisons["champion"] = compare(part, found.probabilities)
    return found.note


def evaluate_rows(evaluation: Evaluation, rows: np.ndarray) -> Evaluation:
    """The same evaluation on some rows only."""
    prepared, unseen = evaluation.prepared.take(rows), evaluation.unseen
    part = OutOfFold(unseen.probabilities[rows], unseen.gains[rows], unseen.rewards[rows])
    log, groups = log_of(prepared, evaluation.economy), Groups.of(prepared.customers)
    return Evaluation(
        prepared=prepared,
        configuration=evaluation.configuration,
        economy=evaluation.economy,
        log=log,
        groups=groups,
        unseen=part,
        support=_support(prepared, log, part, groups),
    )


def _estimates(evaluation: Evaluation, probabilities: np.ndarray) -> dict[str, Estimate]:
    return estimate(
        evaluation.log,
        probabilities,
        evaluation.unseen.gains,
        groups=evaluation.groups,
        generator=np.random.default_rng(evaluation.configuration.seed),
        resamples=evaluation.configuration.resamples,
    )


def _models(
    evaluation: Evaluation, estimates: dict[str, Estimate], best: str
) -> dict[str, dict[str, float]]:
    """The chosen estimator's value and interval of every policy of the report."""
    others = {
        f"always {best}": _constant(evaluation, best),
        "uniform": uniform_policy(evaluation.prepared),
    }
    found = {"challenger": _interval(estimates[CHOSEN]), LOGGING: _as_logged(evaluation)}
    for name, probabilities in others.items():
        found[name] = _interval(_estimates(evaluation, probabilities)[CHOSEN])
    return found


def _interval(found: Estimate) -> dict[str, float]:
    return {"value": found.value, "low": found.low, "high": found.high}


def _as_logged(evaluation: Evaluation) -> dict[str, float]:
    """What was earned while logging: no estimate, a mean."""
    terms = Terms.mean_of(evaluation.log.gains)
    sums = evaluation.groups.sums(terms.numerators - terms.value)
    half = 1.96 * float(np.sqrt((sums**2).sum())) / len(evaluation.log)
    return {"value": terms.value, "low": terms.value - half, "high": terms.value + half}


def _shares(evaluation: Evaluation) -> dict[str, dict[str, float]]:
    """How often each action is taken: by the log, by the new policy."""
    prepared = evaluation.prepared
    logged = np.bincount(prepared.actions, minlength=len(prepared.names)) / len(prepared)
    policy = evaluation.unseen.probabilities.mean(axis=0)
    return {
        name: {"logged": float(logged[code]), "policy": float(policy[code])}
        for code, name in enumerate(prepared.names)
    }


def _protocol(evaluation: Evaluation, champion: str) -> dict[str, Any]:
    configuration, reward = evaluation.configuration, evaluation.prepared.meta["reward"]
    bounds = "as configured" if reward["told"] else "as seen in the log"
    return {
        "holdout": f"{configuration.folds} folds by customer, each valued by a policy that has "
        "not seen it",
        "value": f"{configuration.reward_worth:g} x {configuration.reward_unit} - cost, per "
        "decision",
        "estimator": CHOSEN,
        "gate": f"paired doubly robust difference, betting bound at "
        f"{configuration.gate_confidence:.0%}; rewards from {reward['minimum']:g} to "
        f"{reward['maximum']:g}, {bounds}",
        "champion": champion,
    }
