"""Data and holdouts of the recommendation benchmark: how each protocol cuts a file.

- `split`: `user item …` lines, the test set in a second file; validation is the job's own.
- `next-item`: lines in order; each customer's last item is tested, the one before it is tuned on,
  and the model is fitted without either (strict leave-one-out).
- `next-basket`: interactions with times; tested is each customer's first visit after a date, by
  default 30 days before the midnight of the last day.
- `cold-items`: the newest 5 % of the products (without times: 5 % drawn with a seed) lose all that
  happened to them; looked for are those among them that customers took. Every customer is asked at
  another moment, so that of times the order alone is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.adapters import sequences
from pipelines.data import read_sources
from training.datasets import Dataset
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.kinds import ORDERED, SET
from training.recommendation.looks import ARCHIVE, read_looks
from training.recommendation.prepare import (
    TEST,
    TRAIN,
    VALIDATION,
    Prepared,
    code,
    hold_out,
    prepare,
    split_by_order,
    with_split,
)

COLD_SHARE = 0.05
_NO_WINDOW = dict.fromkeys(("start", "validation", "test", "end"))


@dataclass(frozen=True)
class Task:
    """What to tune on, what to fit on, and at which lengths lists are judged.

    `prepared` carries the split codes; `fit` are the interactions the tested model may see.
    `exclude_seen` is what every decision asks for, None leaves it to the model.
    """

    prepared: Prepared
    fit: Prepared
    lengths: tuple[int, ...]
    tuned_for: int


def read(path: Path, attributes: Path | None) -> Dataset:
    """A file in any layout that `nextbest data import` reads; attributes only if they are named."""
    dataset = read_sources(path, now=datetime.now(UTC))[0]
    if not path.name.endswith((".txt", ".txt.xz", ".txt.gz")):
        return dataset
    products = None
    if attributes is not None:
        known = sequences.read_attributes(attributes)
        ids = sorted(dataset.interactions["product_id"].unique())
        tags = pd.Series([[str(tag) for tag in known.get(item, [])] for item in ids], dtype=object)
        products = pd.DataFrame({"product_id": ids, "tags": tags})
    return replace(dataset, products=products)


def split(dataset: Dataset, test: Dataset, *, seed: int) -> Task:
    """The published split of plain sets."""
    tables = [dataset.interactions.assign(part=TRAIN), test.interactions.assign(part=TEST)]
    # One time for all: the sort by customer then keeps the order of the files.
    frame = pd.concat(tables, ignore_index=True).assign(timestamp=pd.Timestamp(0, tz="UTC"))
    prepared = code(replace(dataset, interactions=frame), timed=False)
    kind = code(dataset, timed=False).meta["kind"]  # the tested lists are in another order
    customers = pd.factorize(frame["customer_id"], sort=True)[0]
    parts = frame["part"].to_numpy()[np.argsort(customers, kind="stable")].astype(np.int8)
    prepared = replace(prepared, meta={**prepared.meta, "kind": kind})
    if kind == SET:
        hold_out(parts, prepared.customers, code=VALIDATION, least=2, seed=seed + VALIDATION)
    else:
        known = np.flatnonzero(parts == TRAIN)
        last = np.diff(prepared.customers[known], append=-1) != 0
        parts[known[last]] = VALIDATION
    prepared = with_split(prepared, parts, _NO_WINDOW)
    return Task(prepared, prepared.take(prepared.split != TEST), (20,), 20)


def next_item(dataset: Dataset) -> Task:
    """Strict leave-one-out."""
    prepared = code(dataset, timed=False)
    prepared = with_split(prepared, *split_by_order(prepared.customers))
    return Task(prepared, prepared.take(prepared.split == TRAIN), (5, 10), 10)


def next_basket(dataset: Dataset, cutoff: str | None) -> Task:
    """The first visit from `cutoff` on."""
    times = dataset.interactions["timestamp"]
    end = times.max()
    cut = pd.Timestamp(cutoff, tz="UTC") if cutoff else end.normalize() - pd.Timedelta(days=30)
    # The window runs from the cut to the second after the last event.
    days = ((end.floor("s") - cut).total_seconds() + 1) / 86_400
    prepared = prepare(dataset, RecommenderConfiguration(holdout_days=days))
    return Task(prepared, prepared.take(prepared.split != TEST), (10,), 10)


def cold_items(dataset: Dataset, *, seed: int) -> Task:
    """What customers took of the newest products, which nobody is known to have taken."""
    timed = dataset.profile.get("ordered_by", "timestamp") == "timestamp"
    prepared = code(dataset, timed=timed)
    known = np.unique(prepared.items)
    count = max(1, int(COLD_SHARE * len(known)))
    if timed:
        first = np.full(prepared.product_count, np.iinfo(np.int64).max)
        np.minimum.at(first, prepared.items, prepared.times)
        cold = known[np.argsort(first[known], kind="stable")[-count:]]
    else:
        cold = np.random.default_rng(seed).choice(known, size=count, replace=False)
    hidden = np.isin(prepared.items, cold)
    # One cold product a customer, the last; what came after it, and the other cold ones, is gone.
    last = _last_of_each(prepared.customers, hidden)
    place = np.full(int(prepared.customers.max()) + 1, -1)
    place[prepared.customers[last]] = last
    asked = place[prepared.customers]
    kept = (~hidden & ((asked < 0) | (np.arange(len(hidden)) < asked))) | _at(last, len(hidden))
    prepared = prepared.take(kept)
    parts = np.where(np.isin(prepared.items, cold), TEST, TRAIN).astype(np.int8)
    known_rows = np.flatnonzero(parts == TRAIN)
    before = np.diff(prepared.customers[known_rows], append=-1) != 0
    long = np.bincount(prepared.customers[known_rows])[prepared.customers[known_rows]] >= 2
    parts[known_rows[before & long]] = VALIDATION
    baskets = np.arange(len(parts), dtype=np.int64)
    kind = ORDERED if timed else prepared.meta["kind"]
    meta = {**prepared.meta, "timed": False, "kind": kind}
    prepared = with_split(replace(prepared, baskets=baskets, meta=meta), parts, _NO_WINDOW)
    return Task(prepared, prepared.take(prepared.split != TEST), (20,), 20)


def pictured(task: Task, images: Path) -> Task:
    """The task with the embeddings of an image model, whose `model.tar.gz` is in that folder."""
    looks = read_looks(images, task.prepared.meta["product_ids"])
    if looks is None:
        raise FileNotFoundError(f"{images}: no {ARCHIVE} that knows any of these products")
    prepared, fit = (replace(data, images=looks) for data in (task.prepared, task.fit))
    return replace(task, prepared=prepared, fit=fit)


def _last_of_each(customers: np.ndarray, mask: np.ndarray) -> np.ndarray:
    rows = np.flatnonzero(mask)
    return rows[np.diff(customers[rows], append=-1) != 0]


def _at(rows: np.ndarray, size: int) -> np.ndarray:
    mask = np.zeros(size, dtype=bool)
    mask[rows] = True
    return mask
