"""How much memory and time a training takes: the two jobs of a run on a synthetic shop.

    python -m tests.benchmarks.scale [--products 100000] [--interactions 20000000]
                                     [--budget 300] [--json FILE]

Prepare and Train run as the processes that they are in a job, one after the other, with the default
configuration but for the budget; each one's peak resident memory and CPU seconds are the kernel's.
The shop: twenty interactions a customer in the mean (log-normal), a year of visits of a few
products each, popularity by Zipf's law, three tastes a customer among groups of 200 products.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from inference.errors import NextbestError
from tests.benchmarks.rows import Row, write_rows

_MEAN_INTERACTIONS = 20
_GROUP = 200
_TASTES = 3
_OWN_SHARE = 0.7
_VISIT = 3
_DAYS = 365
_DAY_SECONDS = 86_400
_FIRST_SECOND = 1_735_689_600  # 2025
_ROW_GROUP = 1_000_000
_EVENTS = ("purchase", "view")
_VIEW_SHARE = 0.8


@dataclass(frozen=True)
class Shop:
    """Interactions by time: int32 customers and products, int64 seconds, int8 event codes."""

    customers: np.ndarray
    products: np.ndarray
    times: np.ndarray
    events: np.ndarray


def main(arguments: list[str] | None = None) -> None:
    options = _options(arguments)
    folder = Path(tempfile.mkdtemp(prefix="nextbest-scale-"))
    try:
        write_shop(make_shop(options.products, options.interactions), folder / "input/data/dataset")
        rows = []
        for row in measured(folder, options):
            rows.append(row)
            figures = "  ".join(f"{name} {value:,.2f}" for name, value in row.metrics.items())
            print(
                f"{row.model:<10} {row.set:<28} {figures}  cpu_s {row.cpu_seconds:,.0f}", flush=True
            )
    finally:
        shutil.rmtree(folder)
    if options.json:
        write_rows(options.json, rows)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--interactions", type=int, default=20_000_000)
    parser.add_argument("--budget", type=float, default=300.0, help="nominal CPU seconds")
    parser.add_argument("--json", type=Path)
    return parser.parse_args(arguments)


def make_shop(product_count: int, interactions: int, *, seed: int = 0) -> Shop:
    """Interactions of a shop. Product codes are ranks of popularity; every `groups`-th product is
    of the same group, so that each has its best-sellers."""
    rng = np.random.default_rng(seed)
    count = max(1, interactions // _MEAN_INTERACTIONS)
    activity = rng.lognormal(sigma=1.0, size=count)
    activity /= activity.sum()
    lengths = rng.multinomial(interactions, activity)
    customers = np.repeat(np.arange(count, dtype=np.int32), lengths)
    products = _products(customers, count, product_count, rng)
    visits = rng.integers(0, np.maximum(1, lengths // _VISIT)[customers])
    days = np.random.default_rng(seed + 1).permuted(np.arange(_DAYS, dtype=np.int64))
    first = rng.integers(0, _DAYS, count)[customers]
    times = _FIRST_SECOND + days[(first + 7 * visits) % _DAYS] * _DAY_SECONDS
    times += rng.integers(0, _DAY_SECONDS, len(times))
    order = np.argsort(times, kind="stable")
    events = (rng.random(len(times)) < _VIEW_SHARE).astype(np.int8)
    return Shop(customers[order], products[order], times[order], events)


def _products(
    customers: np.ndarray, customer_count: int, product_count: int, rng: np.random.Generator
) -> np.ndarray:
    """int32 product codes: mostly of one of the customer's tastes, else of the whole shop."""
    groups = max(1, product_count // _GROUP)
    tastes = rng.integers(0, groups, (customer_count, _TASTES), dtype=np.int32)
    taste = tastes[customers, rng.integers(0, _TASTES, len(customers))]
    inside = taste + groups * _zipf(len(customers), product_count // groups, rng)
    anywhere = _zipf(len(customers), product_count, rng)
    return np.where(rng.random(len(customers)) < _OWN_SHARE, inside, anywhere).astype(np.int32)


def _zipf(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """int32 ranks below `count`, with probabilities by 1 / (rank + 1)."""
    shares = np.cumsum(1.0 / np.arange(1, count + 1))
    return shares.searchsorted(rng.random(size) * shares[-1], side="right").astype(np.int32)


def write_shop(shop: Shop, folder: Path) -> None:
    """The canonical table of interactions, as `nextbest data import` leaves it."""
    folder.mkdir(parents=True)
    names = ("customer_id", "product_id", "event")
    schema = pa.schema([*((name, pa.string()) for name in names), ("timestamp", _TIME)])
    with pq.ParquetWriter(folder / "interactions.parquet", schema) as writer:
        for start in range(0, len(shop.times), _ROW_GROUP):
            writer.write_table(_table(shop, slice(start, start + _ROW_GROUP), schema))


_TIME = pa.timestamp("us", tz="UTC")


def _table(shop: Shop, part: slice, schema: pa.Schema) -> pa.Table:
    columns = [
        pa.array(shop.customers[part]).cast(pa.string()),
        pa.array(shop.products[part]).cast(pa.string()),
        pa.array(_EVENTS).take(pa.array(shop.events[part])),
        pa.array(shop.times[part] * 1_000_000).cast(_TIME),
    ]
    return pa.table(columns, schema=schema)


def measured(root: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Prepare and Train, one row each. Raises `NextbestError` where a job failed."""
    name = f"{options.products:,} × {options.interactions:,}"
    for step in ("prepare", "train"):
        usage = _run(f"recommendation.{step}", root, options.budget)
        peak = round(usage.ru_maxrss / 1024, 1)
        spent = usage.ru_utime + usage.ru_stime
        yield Row("scale", name, step, {"peak_gb": peak / 1024}, spent, peak)
        if step == "prepare":
            (root / "processing/output/prepared").rename(root / "input/data/prepared")


def _run(step: str, root: Path, budget: float) -> resource.struct_rusage:
    """One job in a process of its own: what the kernel says that it used."""
    program = "import sys; from training.job import main; main(sys.argv[1:])"
    environment = {
        **os.environ,
        "NEXTBEST_ML_ROOT": str(root),
        "NEXTBEST_BUDGET_SECONDS": json.dumps(budget),
    }
    command = [sys.executable, "-c", program, step]
    process = os.posix_spawn(sys.executable, command, environment)
    _, status, usage = os.wait4(process, 0)
    if status:
        code = os.waitstatus_to_exitcode(status)
        raise NextbestError(f"{step} ended with {code}; its log is above")
    return usage


if __name__ == "__main__":
    main()
