"""Evaluate: the challenger against baselines and champion on one holdout, through the serving code.

A SageMaker processing job. Reads `prepared`, `model` (both archives of Train) and `champion` (the
same two of what is live, or nothing); writes `metrics.json`, `gate.json` and `golden.json` to the
output `evaluation`. The champion is measured fairly: its serving model if that never saw the test
window, else its holdout model if that never did, else not at all, and the report says which.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from inference.artifact import unpack
from inference.contracts import ProductRequest
from inference.errors import ArtifactError
from inference.recommender import Recommender
from training.configuration import parse
from training.job import Job
from training.recommendation.answers import heads, popular_order, recommend_all
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.histories import Histories, holdout_histories
from training.recommendation.metrics import evaluate_lists
from training.recommendation.newcomer_figures import ALL_TIME_DAYS, measure_newcomers
from training.recommendation.prepare import TEST, Prepared, load
from training.recommendation.train import HOLDOUT, NEWCOMERS
from training.verdict import above, at_least, verdict

RECENT_DAYS = 14.0
GOLDEN_CUSTOMERS = 6
GOLDEN_HISTORY = 30
HOLDOUTS = {
    "timed": "last window",
    "ordered": "leave one out",
    "set": "a tenth of the interactions",
}


@dataclass(frozen=True)
class Candidate:
    """A model under test, and where it comes from."""

    recommender: Recommender
    note: str


def run(job: Job) -> None:
    configuration = parse(RecommenderConfiguration, job.settings, where="recommender")
    prepared = load(job.channel("prepared"))
    scratch = job.output("scratch")
    serving, holdout = open_both(job.channel("model"), scratch / "challenger")
    if serving is None or holdout is None:
        raise FileNotFoundError("Train left no model.tar.gz and output.tar.gz")
    champion, note = _champion(job, scratch / "champion", prepared)
    metrics = measure(prepared, configuration, holdout, champion)
    metrics["protocol"]["champion"] = note
    unaware = open_named(scratch / "challenger", NEWCOMERS)
    if unaware is not None:
        metrics["products_without_history"] = measure_newcomers(prepared, configuration, unaware)
    verdict = gate(metrics, configuration)
    golden = golden_requests(serving, prepared, configuration, now=_started(job))
    folder = job.output("evaluation")
    for name, content in (("metrics", metrics), ("gate", verdict), ("golden", golden)):
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1), encoding="utf-8")
    job.log("evaluated", outcome=verdict["outcome"], reasons=verdict["reasons"])


def _started(job: Job) -> datetime:
    return datetime.fromisoformat(job.started_at)


def open_both(channel: Path, scratch: Path) -> tuple[Recommender | None, Recommender | None]:
    """The serving and the holdout model of one run; None for what is not there."""
    serving = holdout = None
    if (channel / "model.tar.gz").exists():
        unpack(channel / "model.tar.gz", scratch / "serving")
        serving = Recommender.open(scratch / "serving")
    if (channel / "output.tar.gz").exists():
        unpack(channel / "output.tar.gz", scratch / "extra")
        holdout = open_named(scratch, HOLDOUT)
    return serving, holdout


def open_named(scratch: Path, name: str) -> Recommender | None:
    """The model of that name among those that `open_both` unpacked beside the serving one."""
    found = [path.parent for path in (scratch / "extra").rglob("manifest.json")]
    named = [folder for folder in found if folder.name == name]
    return Recommender.open(named[0]) if named else None


def _champion(job: Job, scratch: Path, prepared: Prepared) -> tuple[Candidate | None, str]:
    """The champion, and what the report says of it. One that this code cannot read (of an older
    format) is live all the same: it keeps answering by its own code, but cannot be compared."""
    try:
        found = find_champion(job.channel("champion"), scratch, prepared)
    except ArtifactError as error:
        job.log("the champion cannot be read", reason=str(error))
        return None, f"unreadable, so not compared: {error}"
    return found, found.note if found else "none that had not seen the window"


def find_champion(channel: Path, scratch: Path, prepared: Prepared) -> Candidate | None:
    """The live model in the form that has not seen this run's test window."""
    serving, holdout = open_both(channel, scratch)
    for recommender, note in ((serving, "serving model"), (holdout, "holdout model")):
        if recommender is not None and not _saw_test(recommender, prepared):
            return Candidate(recommender, note)
    return None


def _saw_test(recommender: Recommender, prepared: Prepared) -> bool:
    """Whether a model may have seen the test window. Without times only a model fitted on the very
    rest of the interactions is known not to have: another seed, or more data, holds out others."""
    window = recommender.manifest["data"]
    start = prepared.meta["window"]["test"]
    if start is None or window["end"] is None:
        rest = prepared.take(prepared.split != TEST)
        return bool(window.get("fitted_on") != rest.fingerprint)
    return bool(window["end"] >= start)


def measure(
    prepared: Prepared,
    configuration: RecommenderConfiguration,
    challenger: Recommender,
    champion: Candidate | None,
) -> dict[str, Any]:
    """Figures of every model on the test window, all products and new ones only."""
    histories = holdout_histories(
        prepared,
        TEST,
        purchase_event=configuration.purchase_event,
        limit=configuration.evaluation_customers,
        seed=configuration.seed,
    )
    past = prepared.take(prepared.split != TEST)
    seen = [set(histories.items[histories.history(row)].tolist()) for row in range(len(histories))]
    candidates = {"challenger": challenger}
    if champion is not None:
        candidates["champion"] = champion.recommender
    orders = {
        "popularity": popular_order(past, ALL_TIME_DAYS),
        "recent_popularity": popular_order(past, RECENT_DAYS),
    }
    figures = {}
    for new_only in (False, True) if histories.repeat_share() else (False,):
        lists = {
            name: recommend_all(
                model, histories, prepared, k=configuration.k, exclude_seen=new_only or None
            )
            for name, model in candidates.items()
        }
        without = seen if new_only else [set()] * len(histories)
        lists |= {name: heads(order, without, configuration.k) for name, order in orders.items()}
        figures[new_only] = _figures(lists, histories, without, prepared, configuration.k)
    return {
        "protocol": {
            "kind": prepared.meta["kind"],
            "holdout": HOLDOUTS[prepared.meta["kind"]],
            "window": prepared.meta["window"],
            "targets": "first visit in the window, full ranking",
        },
        "customers": len(histories),
        "suppressed": prepared.meta.get("suppressed", 0),
        "models": figures[False],
        "new_products_only": figures.get(True, figures[False]),
    }


def _figures(
    lists: dict[str, list[list[int]]],
    histories: Histories,
    without: list[set[int]],
    prepared: Prepared,
    k: int,
) -> dict[str, dict[str, float]]:
    """Figures of every model, over the customers who have a target that is not in `without`."""
    targets = [set(histories.targets_of(row).tolist()) - out for row, out in enumerate(without)]
    rows = [row for row, target in enumerate(targets) if target]
    return {
        name: evaluate_lists(
            [found[row] for row in rows],
            [targets[row] for row in rows],
            k=k,
            product_count=prepared.product_count,
        )
        for name, found in lists.items()
    }


def gate(metrics: dict[str, Any], configuration: RecommenderConfiguration) -> dict[str, Any]:
    """The verdict with every check: evidence, baselines, coverage, champion where there is one."""
    metric, models = f"ndcg@{configuration.k}", metrics["models"]
    figure = models["challenger"][metric]
    baseline = max(models["popularity"][metric], models["recent_popularity"][metric])
    coverage = models["challenger"][f"coverage@{configuration.k}"]
    checks = [
        at_least("evidence", "customers", metrics["customers"], configuration.gate_customers),
        above("better than popularity", metric, figure, baseline + configuration.gate_margin),
        at_least("coverage", "coverage", coverage, configuration.gate_coverage),
    ]
    if "champion" in models:
        floor = models["champion"][metric] - configuration.champion_tolerance
        checks.append(at_least("not worse than the champion", metric, figure, floor))
    return verdict(checks)


def golden_requests(
    recommender: Recommender,
    prepared: Prepared,
    configuration: RecommenderConfiguration,
    *,
    now: datetime,
) -> list[dict[str, Any]]:
    """Requests of every kind with the serving model's answers; `now` is pinned in each."""
    histories = holdout_histories(
        prepared,
        TEST,
        purchase_event=configuration.purchase_event,
        limit=GOLDEN_CUSTOMERS,
        seed=configuration.seed,
    )
    ids = prepared.meta["product_ids"]
    lists = [
        [ids[item] for item in histories.items[histories.history(row)][-GOLDEN_HISTORY:].tolist()]
        for row in range(len(histories))
    ]
    requests: list[dict[str, Any]] = [{"history": history, "limit": 10} for history in lists]
    requests += [
        {"limit": 5},
        {"history": lists[0], "exclude_purchased": True, "limit": 5},
        {"context_product": lists[0][-1], "limit": 5},
        {"history": ["no such product", *lists[0][:3]], "exclude_products": lists[0][:1]},
    ]
    return [_golden(recommender, {**request, "now": now.isoformat()}, now) for request in requests]


def _golden(recommender: Recommender, request: dict[str, Any], now: datetime) -> dict[str, Any]:
    answer = recommender.recommend(msgspec.convert(request, ProductRequest), now=now)
    products = [{"product_id": p.product_id, "score": p.score} for p in answer.products]
    return {"request": request, "response": {"products": products}}
