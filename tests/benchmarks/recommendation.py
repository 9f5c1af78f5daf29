"""How well the recommender finds what customers took next, beside its peers, in one run.

    python -m tests.benchmarks.recommendation --protocol split \
        --interactions ../shared/data/gowalla/train.txt.xz --test ../shared/data/gowalla/test.txt.xz
    python -m tests.benchmarks.recommendation --protocol next-item \
        --interactions ../shared/data/amazon-beauty/sequences.txt.xz \
        --attributes ../shared/data/amazon-beauty/attributes.json.xz --peers --json rows.json
    python -m tests.benchmarks.recommendation --protocol next-basket \
        --interactions ../shared/data/online-retail/online_retail.csv.xz

Full ranking over the whole catalogue. Ours is the training job's default configuration, tuned on
its own validation split and scored through the serving core; CPU seconds are of tuning and fitting,
`decision_us` is a decision's CPU time. The protocols are described in `tests.benchmarks.protocols`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from inference.recommender import Recommender
from tests.benchmarks import protocols
from tests.benchmarks.peers import PEERS, Lists
from tests.benchmarks.protocols import Task
from tests.benchmarks.rows import Row, peak_mb, write_rows
from training.configuration import parse
from training.datasets import Dataset
from training.recommendation.answers import recommend_all
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.histories import Histories, holdout_histories
from training.recommendation.metrics import evaluate_lists
from training.recommendation.prepare import TEST
from training.recommendation.train import write_model
from training.recommendation.tuning import Trial, tune


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    task = _task(options)
    histories = holdout_histories(task.prepared, TEST, purchase_event="purchase", limit=0, seed=0)
    print(
        f"{_name(options)}: {len(task.fit.items):,} interactions to fit on, "
        f"{task.prepared.product_count:,} products, {len(histories):,} customers asked, "
        f"data of the kind {task.prepared.meta['kind']!r}"
    )
    rows = list(_ours(task, histories, options))
    for name, peer in PEERS.items() if options.peers else ():
        began = time.process_time()
        lists = peer(task, histories, max(task.lengths))
        if lists is None:
            print(f"{name}: left out, `pip install -e '.[benchmarks]'` brings it")
            continue
        spent = time.process_time() - began
        rows += _judged(options, task, histories, name, lists, cpu_seconds=spent)
    _print(rows)
    if options.json:
        write_rows(options.json, rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.recommendation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = ("split", "next-item", "next-basket", "cold-items")
    parser.add_argument("--protocol", required=True, choices=names)
    parser.add_argument("--interactions", required=True, type=Path, metavar="FILE")
    parser.add_argument("--test", type=Path, metavar="FILE", help="the test set of `split`")
    parser.add_argument("--attributes", type=Path, metavar="FILE", help="item → list, as JSON")
    parser.add_argument("--no-attributes", action="store_true", help="as if nothing were known")
    parser.add_argument("--images", type=Path, metavar="FOLDER", help="of an image model.tar.gz")
    parser.add_argument("--cutoff", metavar="DATE", help="of `next-basket`, e.g. 2011-11-09")
    parser.add_argument("--peers", action="store_true", help="run the peers too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--quiet", action="store_true", help="do not print the search's steps")
    return parser


def _name(options: argparse.Namespace) -> str:
    folder = options.interactions.resolve().parent.name
    known = [(options.attributes, "with attributes"), (options.images, "with images")]
    known.append((options.no_attributes, "without attributes"))
    notes = [note for given, note in known if given]
    return " ".join([f"{folder}/{options.interactions.name.split('.')[0]}", *notes])


def _task(options: argparse.Namespace) -> Task:
    dataset = protocols.read(options.interactions, options.attributes)
    if options.no_attributes:
        dataset = replace(dataset, products=None)
    task = _cut(dataset, options)
    return protocols.pictured(task, options.images) if options.images else task


def _cut(dataset: Dataset, options: argparse.Namespace) -> Task:
    if options.protocol == "split":
        if options.test is None:
            sys.exit("--protocol split needs --test FILE")
        return protocols.split(dataset, protocols.read(options.test, None), seed=0)
    if options.protocol == "next-item":
        return protocols.next_item(dataset)
    if options.protocol == "next-basket":
        return protocols.next_basket(dataset, options.cutoff)
    return protocols.cold_items(dataset, seed=0)


def _ours(task: Task, histories: Histories, options: argparse.Namespace) -> Iterator[Row]:
    given = dict(pair.split("=", 1) for pair in options.set)
    configuration = parse(
        RecommenderConfiguration, {"k": task.tuned_for, **given}, where="recommender"
    )
    began = time.process_time()
    best = tune(task.prepared, configuration, report=_reporter(quiet=options.quiet))
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder)
        write_model(model, task.fit, best.parameters, configuration, provenance={})
        spent = time.process_time() - began
        size = sum(path.stat().st_size for path in model.iterdir()) / 2**20
        recommender = Recommender.open(model)
        print(f"chosen: {json.dumps(msgspec.to_builtins(best.parameters))}")
        yield from _through(recommender, "nextbest", task, histories, options, spent, size)
        if best.parameters.factor_weight:
            recommender.parameters = msgspec.structs.replace(
                recommender.parameters, factor_weight=0.0
            )
            name = "nextbest, matrix alone"
            yield from _through(recommender, name, task, histories, options, spent, size)


def _reporter(*, quiet: bool) -> Callable[[Trial], None]:
    best, began = [0.0], time.process_time()

    def report(trial: Trial) -> None:
        if trial.value > best[0]:
            best[0] = trial.value
            if not quiet:
                spent = time.process_time() - began
                figures = f"{trial.ndcg:.5f} {trial.new_ndcg:.5f}"
                print(f"{spent:7.1f} s  {figures}  {trial.change}", flush=True)

    return report


def _through(
    recommender: Recommender,
    name: str,
    task: Task,
    histories: Histories,
    options: argparse.Namespace,
    spent: float,
    size: float,
) -> Iterator[Row]:
    def ask(*, new_only: bool) -> list[list[int]]:
        return recommend_all(
            recommender,
            histories,
            task.prepared,
            k=max(task.lengths),
            exclude_seen=new_only or None,
        )

    began = time.process_time()
    lists = Lists(ask(new_only=False), ask(new_only=True) if histories.repeat_share() else None)
    asked = len(histories) * (2 if lists.new_only else 1)
    extra = {
        "artefact_mb": round(size, 1),
        "decision_us": round((time.process_time() - began) / asked * 1e6),
    }
    yield from _judged(options, task, histories, name, lists, cpu_seconds=spent, extra=extra)
    if options.protocol == "cold-items":
        yield _among_hidden(recommender, name, task, histories, options, spent)


def _among_hidden(
    recommender: Recommender,
    name: str,
    task: Task,
    histories: Histories,
    options: argparse.Namespace,
    spent: float,
) -> Row:
    """The hidden products ranked among themselves: what the model knows of them, whatever it costs
    to show them beside the others."""
    ids, prepared = task.prepared.meta["product_ids"], task.prepared
    hidden = [ids[item] for item in np.unique(prepared.items[prepared.split == TEST]).tolist()]
    lists = recommend_all(recommender, histories, prepared, k=max(task.lengths), only=hidden)
    row = _row(options, task, name, lists, _targets(histories), spent, {})
    return replace(row, set=f"{row.set}, among the {len(hidden)} hidden")


def _targets(histories: Histories) -> list[set[int]]:
    return [set(histories.targets_of(row).tolist()) for row in range(len(histories))]


def _judged(
    options: argparse.Namespace,
    task: Task,
    histories: Histories,
    model: str,
    lists: Lists,
    *,
    cpu_seconds: float,
    extra: dict[str, float] | None = None,
) -> list[Row]:
    targets = _targets(histories)
    rows = [_row(options, task, model, lists.found, targets, cpu_seconds, extra or {})]
    if lists.new_only is not None:
        seen = [
            set(histories.items[histories.history(row)].tolist()) for row in range(len(targets))
        ]
        new = [target - old for target, old in zip(targets, seen, strict=True)]
        asked = [row for row, target in enumerate(new) if target]
        found, wanted = [lists.new_only[row] for row in asked], [new[row] for row in asked]
        row = _row(options, task, model, found, wanted, cpu_seconds, extra or {})
        rows.append(replace(row, set=f"{row.set}, new items only"))
    return rows


def _row(
    options: argparse.Namespace,
    task: Task,
    model: str,
    lists: list[list[int]],
    targets: list[set[int]],
    cpu_seconds: float,
    extra: dict[str, float],
) -> Row:
    metrics: dict[str, float] = {}
    for k in task.lengths:
        metrics |= evaluate_lists(lists, targets, k=k, product_count=task.prepared.product_count)
    rounded = {name: round(value, 5) for name, value in metrics.items()}
    return Row(
        f"recommendation/{options.protocol}",
        _name(options),
        model,
        rounded | extra,
        round(cpu_seconds, 1),
        peak_mb(),
    )


def _print(rows: list[Row]) -> None:
    for subject in dict.fromkeys(row.set for row in rows):
        chosen: list[Any] = [row for row in rows if row.set == subject]
        names = [name for name in chosen[0].metrics if name not in ("artefact_mb", "decision_us")]
        print(f"\n{subject}\n{'model':<26}" + "".join(f"{name:>13}" for name in names), end="")
        print(f"{'CPU s':>9}{'peak MB':>9}{'model MB':>10}{'µs':>7}")
        for row in chosen:
            values = "".join(f"{row.metrics[name]:>13.4f}" for name in names)
            size, cost = (row.metrics.get(name, "") for name in ("artefact_mb", "decision_us"))
            print(
                f"{row.model:<26}{values}{row.cpu_seconds:>9.1f}{row.peak_mb:>9.0f}"
                f"{size:>10}{cost:>7}"
            )


if __name__ == "__main__":
    main()
