"""Prepare: a canonical data set → coded arrays with a temporal holdout. A SageMaker processing job.

Reads the channel `dataset`, writes the output `prepared`. What is held out depends on what kind of
data it is: with times, test is the last `holdout_days` and validation as many days before; with
order alone, test is each customer's last interaction and validation the one before it; of plain
sets, a tenth each of every customer's products, drawn with the seed. The channel `images` is the
archive of the tenant's live image model, or holds none; `suppression` says who was erased, and so
is left out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.configuration import parse
from training.datasets import Dataset, read_dataset
from training.errors import NotEnoughDataError
from training.job import Job
from training.recommendation.catalogue import Tokens, catalogue
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.kinds import ORDERED, SET, TIMED, kind_of
from training.recommendation.looks import read_looks
from training.suppression import read_suppression, without_suppressed

TRAIN, VALIDATION, TEST = 0, 1, 2
_DAY_SECONDS = 86_400
_HOLDOUT_CUSTOMERS = 5
_HELD_SHARE = 0.1
_ARRAYS = ("customers", "items", "events", "times", "baskets", "split")


@dataclass(frozen=True)
class Prepared:
    """Interactions as parallel arrays in order of customer, then time.

    `customers`, `items`, `events` int32 codes; `times` int64 seconds; `baskets` int64, the same
    for interactions of one visit; `split` int8, TRAIN, VALIDATION or TEST. The catalogue holds the
    products without interactions too; `tokens` are what its products are described by, `images`
    float32 (products, d) what they look like, a row of zeros where nobody knows.
    """

    customers: np.ndarray
    items: np.ndarray
    events: np.ndarray
    times: np.ndarray
    baskets: np.ndarray
    split: np.ndarray
    meta: dict[str, Any]
    tokens: Tokens
    images: np.ndarray | None = None

    @property
    def product_count(self) -> int:
        return len(self.meta["product_ids"])

    @property
    def fingerprint(self) -> str:
        """Of these very interactions; `meta["fingerprint"]` is of the whole data set's."""
        return digest_of(self.customers, self.items, self.events, self.times)

    def take(self, mask: np.ndarray) -> Prepared:
        """Only the interactions of `mask`; codes keep their meaning."""
        return Prepared(
            self.customers[mask],
            self.items[mask],
            self.events[mask],
            self.times[mask],
            self.baskets[mask],
            self.split[mask],
            self.meta,
            self.tokens,
            self.images,
        )


def run(job: Job) -> None:
    configuration = parse(RecommenderConfiguration, job.settings, where="recommender")
    dataset = read_dataset(job.channel("dataset"))
    kept = without_suppressed(dataset.interactions, read_suppression(job.channel("suppression")))
    prepared = prepare(replace(dataset, interactions=kept), configuration)
    looks = read_looks(job.channel("images"), prepared.meta["product_ids"])
    meta = {**prepared.meta, "suppressed": len(dataset.interactions) - len(kept)}
    prepared = replace(prepared, images=looks, meta=meta)
    save(prepared, job.output("prepared"))
    counts = np.bincount(prepared.split, minlength=3).tolist()
    job.log(
        "prepared",
        kind=prepared.meta["kind"],
        train=counts[0],
        validation=counts[1],
        test=counts[2],
        customers=prepared.meta["customers"],
        products=prepared.product_count,
        suppressed=prepared.meta["suppressed"],
        pictured=0 if looks is None else int(looks.any(axis=1).sum()),
    )


def prepare(dataset: Dataset, configuration: RecommenderConfiguration) -> Prepared:
    """Code and split a data set. Raises `NotEnoughDataError` when nothing can be held out."""
    timed = dataset.profile.get("ordered_by", "timestamp") == "timestamp"
    prepared = code(dataset, timed=timed)
    kind = prepared.meta["kind"]
    if kind == TIMED:
        split, window = split_by_time(prepared.times, configuration.holdout_days)
    elif kind == ORDERED:
        split, window = split_by_order(prepared.customers)
    else:
        split, window = split_at_random(prepared.customers, seed=configuration.seed)
    prepared = with_split(prepared, split, window)
    _require_holdout(prepared)
    return prepared


def code(dataset: Dataset, *, timed: bool) -> Prepared:
    """Interactions as arrays of codes, all of them TRAIN so far."""
    frame = dataset.interactions.sort_values(["timestamp"], kind="stable")
    customers, customer_ids = pd.factorize(frame["customer_id"], sort=True)
    order = np.argsort(customers, kind="stable")
    frame, customers = frame.iloc[order], customers[order]
    items, product_ids = _coded_products(frame["product_id"], dataset.products)
    events, event_names = pd.factorize(frame["event"], sort=True)
    times = frame["timestamp"].astype("datetime64[s, UTC]").astype("int64").to_numpy()
    described, tokens = catalogue(dataset.products, product_ids)
    kind = TIMED if timed else kind_of(customers, items, product_ids.tolist())
    meta = {
        "product_ids": product_ids.tolist(),
        "customers": len(customer_ids),
        "events": event_names.tolist(),
        "kind": kind,
        "timed": timed,
        "window": dict.fromkeys(("start", "validation", "test", "end")),
        "fingerprint": digest_of(customers, items, events, times),
        **described,
    }
    return Prepared(
        customers=customers.astype(np.int32),
        items=items.astype(np.int32),
        events=events.astype(np.int32),
        times=times,
        baskets=_baskets(frame, customers, times, timed=timed),
        split=np.zeros(len(times), dtype=np.int8),
        meta=meta,
        tokens=tokens,
    )


def _coded_products(taken: pd.Series, products: pd.DataFrame | None) -> tuple[np.ndarray, pd.Index]:
    """The codes of what was taken, and the sorted ids of all products that they stand for.

    Only distinct ids become Python objects: one for each interaction would take most of the
    job's memory."""
    codes, distinct = pd.factorize(taken)
    ids = [pd.Series(distinct)] + ([] if products is None else [products["product_id"]])
    product_ids = pd.Index(pd.unique(pd.concat(ids)).astype(object)).sort_values()
    return product_ids.get_indexer(pd.Index(distinct))[codes], product_ids


def from_frame(frame: pd.DataFrame, *, products: np.ndarray | None = None) -> Prepared:
    """All TRAIN, from `customer_id`, `product_id` and, where there is one, `timestamp`.

    For estimators used by hand: ids of any type, no checks but what pandas makes.
    """
    timed = "timestamp" in frame.columns
    stamps = pd.to_datetime(frame["timestamp"], utc=True) if timed else pd.Timestamp(0, tz="UTC")
    table = pd.DataFrame(
        {
            "customer_id": frame["customer_id"],
            "product_id": frame["product_id"],
            "event": "purchase",
            "timestamp": stamps,
        }
    )
    known = None if products is None else pd.DataFrame({"product_id": products})
    return code(Dataset(table, known, None, pd.DataFrame(), {}), timed=timed)


def with_split(prepared: Prepared, split: np.ndarray, window: dict[str, Any]) -> Prepared:
    """The same interactions with other split codes; plain sets get one basket a customer and
    split, so that all that is held out of a customer is looked for."""
    baskets = prepared.baskets
    if prepared.meta["kind"] == SET:
        baskets = prepared.customers.astype(np.int64) * 3 + split
    meta = {**prepared.meta, "window": window}
    return replace(prepared, split=split, baskets=baskets, meta=meta)


def split_by_time(times: np.ndarray, holdout_days: float) -> tuple[np.ndarray, dict[str, Any]]:
    """Split codes and the window in epoch seconds. Validation is as long as test."""
    end = int(times.max()) + 1
    span = end - int(times.min())
    automatic = np.clip(span / 10, _DAY_SECONDS, 28 * _DAY_SECONDS)
    seconds = int(holdout_days * _DAY_SECONDS) if holdout_days else int(automatic)
    test, validation = end - seconds, end - 2 * seconds
    split = np.where(times >= test, TEST, np.where(times >= validation, VALIDATION, TRAIN))
    window = {"start": int(times.min()), "validation": validation, "test": test, "end": end}
    return split.astype(np.int8), window


def split_by_order(customers: np.ndarray) -> tuple[np.ndarray, dict[str, Any]]:
    """Leave-one-out: the last of each customer is test, the one before it validation.

    A customer with fewer than three interactions is all train. `customers` must be sorted.
    """
    _, starts, counts = np.unique(customers, return_index=True, return_counts=True)
    split = np.zeros(len(customers), dtype=np.int8)
    enough = counts >= 3
    split[(starts + counts - 1)[enough]] = TEST
    split[(starts + counts - 2)[enough]] = VALIDATION
    return split, {"start": None, "validation": None, "test": None, "end": None}


def split_at_random(customers: np.ndarray, *, seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Of each customer's interactions a tenth is test and a tenth validation, at least one each.

    A customer with fewer than three is all train. `customers` must be sorted.
    """
    split = np.zeros(len(customers), dtype=np.int8)
    for code in (TEST, VALIDATION):
        hold_out(split, customers, code=code, least=3 if code == TEST else 2, seed=seed + code)
    return split, {"start": None, "validation": None, "test": None, "end": None}


def hold_out(split: np.ndarray, customers: np.ndarray, *, code: int, least: int, seed: int) -> None:
    """Turn a tenth of each customer's TRAIN interactions into `code`, of those who have `least`."""
    rows = np.flatnonzero(split == TRAIN)
    owners = customers[rows]
    drawn = np.random.default_rng(seed).random(len(rows))
    rows, owners = rows[np.lexsort((drawn, owners))], np.sort(owners)
    counts = np.bincount(owners, minlength=int(customers.max(initial=0)) + 1)
    place = np.arange(len(rows)) - (np.cumsum(counts) - counts)[owners]
    held = np.where(counts >= least, np.maximum(1, np.round(_HELD_SHARE * counts)), 0)
    split[rows[place < held[owners]]] = code


def _baskets(
    frame: pd.DataFrame, customers: np.ndarray, times: np.ndarray, *, timed: bool
) -> np.ndarray:
    """One code per visit: the session where there is one, else a customer's day."""
    if not timed:
        return np.arange(len(frame), dtype=np.int64)
    visits = times // _DAY_SECONDS
    visits -= visits.min()
    if "session_id" in frame.columns:
        codes, sessions = pd.factorize(frame["session_id"])
        has_session = np.append(sessions != "", False)[codes]  # the last is of code -1: missing
        visits = np.where(has_session, codes, len(sessions) + visits)
    keys = customers.astype(np.int64) * (int(visits.max()) + 1) + visits
    return pd.factorize(keys)[0].astype(np.int64)


def digest_of(*arrays: np.ndarray) -> str:
    """SHA-256 of whole numbers, whatever their types."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).astype(np.int64).tobytes())
    return digest.hexdigest()


def _require_holdout(prepared: Prepared) -> None:
    for name, code in (("validation", VALIDATION), ("test", TEST)):
        known = np.unique(prepared.customers[prepared.split < code])
        held = np.unique(prepared.customers[prepared.split == code])
        returning = len(np.intersect1d(known, held))
        if returning < _HOLDOUT_CUSTOMERS:
            raise NotEnoughDataError(
                f"only {returning} customers of the {name} window were seen before it; at least "
                f"{_HOLDOUT_CUSTOMERS} are needed. Import a longer span, or --set holdout_days=…"
            )


def save(prepared: Prepared, folder: Path) -> None:
    """Write what `load` reads; same content, same bytes."""
    arrays = {name: getattr(prepared, name) for name in _ARRAYS}
    arrays |= {"token_indptr": prepared.tokens.indptr, "token_codes": prepared.tokens.codes}
    if prepared.images is not None:
        arrays["images"] = prepared.images
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    (folder / "meta.json").write_text(json.dumps(prepared.meta), encoding="utf-8")


def load(folder: Path) -> Prepared:
    names = (*_ARRAYS, "token_indptr", "token_codes")
    arrays = {name: np.load(folder / f"{name}.npy", allow_pickle=False) for name in names}
    tokens = Tokens(arrays.pop("token_indptr"), arrays.pop("token_codes"))
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    path = folder / "images.npy"
    images = np.load(path, allow_pickle=False) if path.exists() else None
    return Prepared(**arrays, meta=meta, tokens=tokens, images=images)
