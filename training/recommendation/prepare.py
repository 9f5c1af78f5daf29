"""Prepare: a canonical data set → coded arrays with a temporal holdout. A SageMaker processing job.

Reads the channel `dataset`, writes the output `prepared`. With times, test is the last
`holdout_days` and validation as many days before; without, test is each customer's last
interaction and validation the one before it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from training.configuration import parse
from training.datasets import Dataset, holds_lists, read_dataset
from training.errors import NotEnoughDataError
from training.job import Job
from training.recommendation.configuration import RecommenderConfiguration

TRAIN, VALIDATION, TEST = 0, 1, 2
_DAY_SECONDS = 86_400
_MAX_CATEGORIES = 5000
_HOLDOUT_CUSTOMERS = 5


@dataclass(frozen=True)
class Prepared:
    """Interactions as parallel arrays in order of customer, then time.

    `customers`, `items`, `events` int32 codes; `times` int64 seconds; `baskets` int64, the same
    for interactions of one visit; `split` int8, TRAIN, VALIDATION or TEST.
    """

    customers: np.ndarray
    items: np.ndarray
    events: np.ndarray
    times: np.ndarray
    baskets: np.ndarray
    split: np.ndarray
    meta: dict[str, Any]

    @property
    def product_count(self) -> int:
        return len(self.meta["product_ids"])

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
        )


def run(job: Job) -> None:
    configuration = parse(RecommenderConfiguration, job.settings, where="recommender")
    prepared = prepare(read_dataset(job.channel("dataset")), configuration)
    save(prepared, job.output("prepared"))
    counts = np.bincount(prepared.split, minlength=3).tolist()
    job.log("prepared", train=counts[0], validation=counts[1], test=counts[2], **_sizes(prepared))


def _sizes(prepared: Prepared) -> dict[str, int]:
    return {
        "customers": len(np.unique(prepared.customers)),
        "products": prepared.product_count,
    }


def prepare(dataset: Dataset, configuration: RecommenderConfiguration) -> Prepared:
    """Code and split a data set. Raises `NotEnoughDataError` when nothing can be held out."""
    frame = dataset.interactions.sort_values(["timestamp"], kind="stable")
    customers, customer_ids = pd.factorize(frame["customer_id"], sort=True)
    order = np.argsort(customers, kind="stable")
    frame, customers = frame.iloc[order], customers[order]
    items, product_ids = pd.factorize(frame["product_id"], sort=True)
    events, event_names = pd.factorize(frame["event"], sort=True)
    times = frame["timestamp"].astype("datetime64[s, UTC]").astype("int64").to_numpy()
    timed = dataset.profile.get("ordered_by", "timestamp") == "timestamp"
    split, window = (
        split_by_time(times, configuration.holdout_days) if timed else split_by_order(customers)
    )
    meta = {
        "product_ids": product_ids.tolist(),
        "customers": len(customer_ids),
        "events": event_names.tolist(),
        "timed": timed,
        "window": window,
        "fingerprint": _fingerprint(customers, items, events, times),
        **_catalogue(dataset.products, product_ids),
    }
    prepared = Prepared(
        customers=customers.astype(np.int32),
        items=items.astype(np.int32),
        events=events.astype(np.int32),
        times=times,
        baskets=_baskets(frame, customers, times, timed=timed),
        split=split,
        meta=meta,
    )
    _require_holdout(prepared)
    return prepared


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


def _baskets(
    frame: pd.DataFrame, customers: np.ndarray, times: np.ndarray, *, timed: bool
) -> np.ndarray:
    """One code per visit: the session where there is one, else a customer's day."""
    if not timed:
        return np.arange(len(frame), dtype=np.int64)
    if "session_id" in frame.columns:
        visits = pd.factorize(frame["session_id"])[0].astype(np.int64)
    else:
        visits = times // _DAY_SECONDS
    return pd.factorize(pd.MultiIndex.from_arrays([customers, visits]))[0].astype(np.int64)


def _catalogue(products: pd.DataFrame | None, product_ids: pd.Index) -> dict[str, Any]:
    """Titles and filterable attributes of the products with interactions, in code order."""
    if products is None:
        return {"titles": None, "attributes": {}}
    table = products.set_index("product_id").reindex(product_ids)
    titles = [_text(v) for v in table["title"]] if "title" in table.columns else None
    columns = [c for c in table.columns if c not in ("title", "image")]
    attributes = {str(c): _attribute(table[c]) for c in columns}
    return {
        "titles": titles,
        "attributes": {name: spec for name, spec in attributes.items() if spec is not None},
    }


def _attribute(column: pd.Series) -> dict[str, Any] | None:
    if holds_lists(column):
        return None  # tags: not one value a product
    if _holds_truths(column):
        column = column.map({True: "true", False: "false"})
    elif pd.api.types.is_numeric_dtype(column):
        numbers = column.astype(float)
        return {"type": "number", "codes": [None if np.isnan(v) else float(v) for v in numbers]}
    texts = [_text(value) for value in column]
    values = sorted({text for text in texts if text is not None})
    if len(values) > _MAX_CATEGORIES:
        return None
    code = {value: number for number, value in enumerate(values)}
    codes = [-1 if text is None else code[text] for text in texts]
    return {"type": "category", "values": values, "codes": codes}


def _holds_truths(column: pd.Series) -> bool:
    """Whether all that is there is true or false; with gaps pandas calls such a column object."""
    if column.dtype != object:
        return bool(pd.api.types.is_bool_dtype(column))
    present = column.dropna()
    return len(present) > 0 and all(isinstance(value, bool | np.bool_) for value in present)


def _text(value: Any) -> str | None:
    missing = value is None or value is pd.NA or value != value or value == ""
    return None if missing else str(value)


def _fingerprint(*arrays: np.ndarray) -> str:
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
    for name in ("customers", "items", "events", "times", "baskets", "split"):
        np.save(folder / f"{name}.npy", getattr(prepared, name), allow_pickle=False)
    (folder / "meta.json").write_text(json.dumps(prepared.meta), encoding="utf-8")


def load(folder: Path) -> Prepared:
    arrays = {
        name: np.load(folder / f"{name}.npy", allow_pickle=False)
        for name in ("customers", "items", "events", "times", "baskets", "split")
    }
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    return Prepared(**arrays, meta=meta)
