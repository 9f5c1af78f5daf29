"""How long a decision takes: our core beside `implicit` and a dense product, in one run.

    python -m tests.benchmarks.serving [--products 100000] [--neighbours 200] [--history 50]
                                       [--requests 1000] [--json FILE]

A synthetic shop of clusters, whose customers stay mostly in one; requests never repeat. Times are
CPU time of this process in microseconds, one thread. `implicit` comes with
`pip install -e '.[benchmarks]'`; without it its rows are left out, with a line that says so.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import scipy.sparse as sp
from threadpoolctl import threadpool_limits

from inference import artifact
from inference.contracts import decode_request
from inference.factors import factor_arrays
from inference.handlers.next_best_product import Service
from inference.neighbours import neighbour_arrays
from inference.recommender import KIND, Recommender
from tests.benchmarks.rows import Row, peak_mb, write_rows
from tests.unit.inference.stored_neighbours import csr_arrays

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOP = 20
FACTORS = 256
CLUSTER = 400
WARM_UP = 100
DECAY = 0.9
SERVING = {"decay": DECAY}
FULL = SERVING | {
    "lasting_decay": 0.98,
    "lasting_weight": 0.5,
    "repeat_weight": 0.3,
    "trend_weight": 0.05,
}
FILTERS: dict[str, dict[str, Any]] = {
    "category equals (1 of 20)": {"include": {"category": "c7"}},
    "category in (5 of 20)": {"include": {"category": [f"c{n}" for n in range(5)]}},
    "price range (half)": {"include": {"price": {"min": 25, "max": 75}}},
    "not a category": {"include": {"category": {"not": "c7"}}},
    "any of two tags": {"include": {"tags": {"any": ["t1", "t2"]}}},
    "exclude purchased": {"exclude_purchased": True},
    "a brand of 10 products": {"include": {"brand": "b3"}},
    "at most 2 a category": {"diversity": {"attribute": "category", "at_most": 2}},
    "trade-off by neighbours": {"diversity": {"weight": 0.3}},
    "promotion of a fifth": {"promote": {"share": 0.2, "where": {"category": "c7"}}},
    "explore a tenth": {"explore": {"share": 0.1, "where": {"category": "c3"}}},
    "minimum score": {"minimum_score": 0.05},
}


@dataclass(frozen=True)
class Shop:
    """The synthetic data: matrix arrays, attributes, item factors, histories of item codes."""

    arrays: dict[str, np.ndarray]
    lasting: dict[str, np.ndarray]
    factors: np.ndarray
    histories: np.ndarray
    product_ids: list[str]


def main() -> None:
    options = _options()
    _say(f"a shop of {options.products:,} products × {options.neighbours} neighbours …")
    shop = make_shop(options)
    rows: list[Row] = []
    with threadpool_limits(1), tempfile.TemporaryDirectory() as folder:
        for row in (*ours(shop, Path(folder)), *dense(shop), *implicit(shop)):
            rows.append(row)
            figures = "  ".join(f"{name} {value:,.1f}" for name, value in row.metrics.items())
            print(f"{row.model:<22} {row.set:<44} {figures}", flush=True)
    if options.json:
        write_rows(options.json, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", type=int, default=100_000)
    parser.add_argument("--neighbours", type=int, default=200)
    parser.add_argument("--history", type=int, default=50)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def make_shop(options: argparse.Namespace) -> Shop:
    """Half of a product's neighbours are of its cluster, values fall with their rank."""
    rng, count, width = np.random.default_rng(0), options.products, options.neighbours
    codes = np.arange(count)[:, None]
    near = (codes // CLUSTER * CLUSTER + rng.integers(0, CLUSTER, (count, width))) % count
    far = rng.integers(0, count, (count, width))
    neighbours = np.where(rng.random((count, width)) < 0.5, near, far)
    neighbours = _without_repeats(neighbours, count)
    values = (rng.random((count, width)) / np.arange(1, width + 1)).astype(np.float32)
    indptr = np.arange(count + 1) * width
    recent = neighbour_arrays(indptr, neighbours.ravel(), values.ravel(), width=width)
    both = neighbour_arrays(
        indptr, neighbours.ravel(), values.ravel(), values[:, ::-1].ravel(), width=width
    )
    home = rng.integers(0, count // CLUSTER or 1, options.requests + WARM_UP) * CLUSTER
    inside = home[:, None] + rng.integers(0, CLUSTER, (len(home), options.history))
    outside = rng.integers(0, count, inside.shape)
    return Shop(
        arrays=recent,
        lasting=both,
        factors=rng.standard_normal((count, FACTORS)).astype(np.float32) / 16,
        histories=np.where(rng.random(inside.shape) < 0.7, inside % count, outside),
        product_ids=[f"product-{code:07d}" for code in range(count)],
    )


def _without_repeats(neighbours: np.ndarray, count: int) -> np.ndarray:
    """A row names a product once: repeats become the next code that is free."""
    for row in neighbours:
        distinct = np.unique(row)
        if len(distinct) < len(row):
            free = np.setdiff1d((distinct[:, None] + np.arange(1, 4)).ravel() % count, distinct)
            row[:] = np.concatenate((distinct, free[: len(row) - len(distinct)]))
            np.random.default_rng(int(row[0])).shuffle(row)
    return neighbours


def ours(shop: Shop, folder: Path) -> Iterator[Row]:
    """Our core, opened from disk as a Lambda opens it."""
    plain = _model(shop.arrays, shop, SERVING)
    yield from _opening(plain, folder)
    recommender = _opened(plain, folder / "plain")
    yield _timed("top 20 with reasons", "nextbest", shop, _core(recommender, {}))
    yield _timed("top 20 with reasons, JSON to JSON", "nextbest", shop, _handler(recommender))
    for name, fields in FILTERS.items():
        yield _timed(name, "nextbest", shop, _core(recommender, fields))
    full = _opened(_model(shop.lasting, shop, FULL), folder / "full")
    yield _timed("two value sets, repeats, trend", "nextbest", shop, _core(full, {}))
    yield _timed("the same, events with times", "nextbest", shop, _core(full, {}, events=True))
    gram = shop.factors.T @ shop.factors + np.eye(FACTORS, dtype=np.float32)
    factors = shop.arrays | factor_arrays(shop.factors, gram)
    reranked = _opened(_model(factors, shop, SERVING | {"factor_weight": 0.5}), folder / "factors")
    yield _timed(f"with {FACTORS} factors", "nextbest", shop, _core(reranked, {}))


def _model(arrays: dict[str, np.ndarray], shop: Shop, serving: dict[str, Any]) -> dict[str, Any]:
    count, rng = len(shop.product_ids), np.random.default_rng(1)
    trend = rng.pareto(1.5, count).astype(np.float32)
    trend /= trend.max()
    attributes = {
        "category": _categories(rng.integers(0, 20, count), "c"),
        "brand": _categories(np.arange(count) // 10, "b"),
        "price": ({"type": "number", "array": "price"}, {"price": rng.random(count) * 100}),
        "tags": (
            {
                "type": "tags",
                "array": "tags",
                "indptr": "tags_at",
                "values": [f"t{code}" for code in range(30)],
            },
            {
                "tags": rng.integers(0, 30, 3 * count).astype(np.int32),
                "tags_at": np.arange(count + 1) * 3,
            },
        ),
    }
    columns: dict[str, np.ndarray] = {}
    for name, (_, own) in attributes.items():
        columns |= {name: own["codes"]} if "codes" in own else own
    order = np.argsort(-trend, kind="stable").astype(np.int32)
    return {
        "manifest": {"kind": KIND, "serving": serving},
        "arrays": arrays | columns | {"trend": trend, "trend_order": order},
        "tables": {
            "product_ids": shop.product_ids,
            "titles": [f"The product {code}" for code in range(count)],
            "attributes": {name: {**spec, "array": name} for name, (spec, _) in attributes.items()},
        },
    }


def _categories(codes: np.ndarray, letter: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    values = [f"{letter}{code}" for code in range(int(codes.max()) + 1)]
    return {"type": "category", "values": values}, {"codes": codes.astype(np.int32)}


def _opening(model: dict[str, Any], folder: Path) -> Iterator[Row]:
    """Opening what was just unpacked, as in a cold start; and a folder never seen before."""
    artifact.write(folder / "written", **model)
    artifact.pack(folder / "written", folder / "model.tar.gz")
    started = time.process_time()
    artifact.unpack(folder / "model.tar.gz", folder / "unpacked")
    unpacking = time.process_time() - started
    seconds = {}
    for name in ("written", "unpacked"):
        gc.collect()
        started = time.process_time()
        Recommender.open(folder / name)
        seconds[name] = time.process_time() - started
    size = sum(path.stat().st_size for path in (folder / "unpacked").iterdir()) / 2**20
    metrics = {
        "open_ms": seconds["unpacked"] * 1e3,
        "open_and_hash_ms": seconds["written"] * 1e3,
        "unpack_ms": unpacking * 1e3,
        "size_mb": size,
    }
    yield Row("serving", "opening", "nextbest", metrics, sum(seconds.values()), peak_mb())


def _opened(model: dict[str, Any], folder: Path) -> Recommender:
    artifact.write(folder, **model)
    return Recommender.open(folder)


Call = Callable[[list[str]], Any]


def _core(recommender: Recommender, fields: dict[str, Any], *, events: bool = False) -> Call:
    """A decision as the handler asks for it: the request is decoded before the clock starts."""

    def prepare(history: list[str]) -> Callable[[], Any]:
        given = [
            {"product_id": product, "event": "view", "timestamp": NOW - timedelta(days=age)}
            for age, product in enumerate(history[::-1])
        ][::-1]
        request = decode_request({"history": given if events else history, "limit": TOP, **fields})
        return lambda: recommender.recommend(request, now=NOW, decision_id="d")

    return prepare


def _handler(recommender: Recommender) -> Call:
    service = Service(recommender, tenant="t", run="r", version="1")

    def prepare(history: list[str]) -> Callable[[], Any]:
        body = msgspec.json.encode({"history": history, "limit": TOP})
        return lambda: json.dumps(service.answer(body, now=NOW, decision_id="d"))

    return prepare


def _timed(name: str, model: str, shop: Shop, prepare: Call) -> Row:
    """Every history once; the first hundred only warm up."""
    spent = np.empty(len(shop.histories))
    gc.collect()
    for number, history in enumerate(shop.histories.tolist()):
        call = prepare([shop.product_ids[code] for code in history])
        started = time.process_time_ns()
        call()
        spent[number] = (time.process_time_ns() - started) / 1e3
    spent = spent[WARM_UP:]
    metrics = {f"p{q}_us": float(np.percentile(spent, q)) for q in (10, 50, 99)}
    return Row("serving", name, model, metrics, float(spent.sum() / 1e6), peak_mb())


def dense(shop: Shop) -> Iterator[Row]:
    """The scores of all products by a dense product, and the best twenty; no reasons."""
    code_of = {product: code for code, product in enumerate(shop.product_ids)}

    def prepare(history: list[str]) -> Callable[[], Any]:
        codes = [code_of[product] for product in history]

        def call() -> np.ndarray:
            scores = shop.factors @ shop.factors[codes].sum(axis=0)
            best = np.argpartition(-scores, TOP)[:TOP]
            return best[np.argsort(-scores[best])]

        return call

    yield _timed(f"top 20, {FACTORS} factors", "numpy dense product", shop, prepare)


def implicit(shop: Shop) -> Iterator[Row]:
    """`implicit`'s item-item model on the same matrix, and its ALS with a fold-in."""
    try:
        from implicit.cpu.als import AlternatingLeastSquares
        from implicit.nearest_neighbours import ItemItemRecommender
    except ImportError:
        _say("implicit is not installed, its rows are left out: pip install -e '.[benchmarks]'")
        return
    from implicit._nearest_neighbours import NearestNeighboursScorer

    count = len(shop.product_ids)
    indptr, indices, values = csr_arrays(shop.arrays)
    nearest = ItemItemRecommender(K=shop.arrays["neighbours"].shape[1], num_threads=1)
    nearest.similarity = sp.csr_matrix((values, indices, indptr), shape=(count, count))
    nearest.scorer = NearestNeighboursScorer(nearest.similarity)
    yield _timed("top 20, same matrix", "implicit item-item", shop, _asks(nearest, shop))
    als = AlternatingLeastSquares(factors=FACTORS, regularization=1.0, num_threads=1)
    als.item_factors = shop.factors
    als.user_factors = np.zeros((1, FACTORS), dtype=np.float32)
    yield _timed(
        f"top 20, {FACTORS} factors, fold-in",
        "implicit ALS",
        shop,
        _asks(als, shop, recalculate_user=True),
    )


def _asks(model: Any, shop: Shop, **options: Any) -> Call:
    code_of = {product: code for code, product in enumerate(shop.product_ids)}
    weights = DECAY ** np.arange(shop.histories.shape[1] - 1, -1, -1)

    def prepare(history: list[str]) -> Callable[[], Any]:
        codes = [code_of[product] for product in history]
        row = sp.csr_matrix(
            (weights, (np.zeros(len(codes), dtype=int), codes)), shape=(1, len(code_of))
        )
        return lambda: model.recommend(0, row, N=TOP, filter_already_liked_items=False, **options)

    return prepare


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
