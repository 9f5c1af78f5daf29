"""How long the search for look-alikes takes: our core beside numpy and faiss, in one run.

    python -m tests.benchmarks.visual_serving [--products 10000 100000] [--dimensions 64]
                                              [--questions 1000] [--spread 0.1] [--json FILE]

Products stand about ten centres, as the classes of a trained network; `--spread` is how far. Every
question is a product, itself left out; recall@10 is against the ten nearest by float64. Times are
CPU time of this process in microseconds, one thread. The cold start is a fresh process: from its
beginning to its first answer, model on disk. Needs the extra `image`; faiss comes with
`pip install -e '.[benchmarks]'`, without it its rows are left out, with a line that says so.
"""

from __future__ import annotations

import argparse
import base64
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from threadpoolctl import threadpool_limits

from inference import artifact
from inference.handlers.similar_products import Service
from inference.visual import KIND, Visual
from tests.benchmarks.rows import Row, peak_mb, write_rows
from tests.unit.inference import picture_model
from training.image.search_graph import search_graph

NOW = datetime(2026, 3, 1, tzinfo=UTC)
TOP = 10
CLASSES = 10
WARM_UP = 50
COLD_STARTS = 7
Find = Callable[[int], Any]
COLD = """
import json, sys, time
from datetime import UTC, datetime
from pathlib import Path
from inference.handlers.similar_products import Service
from inference.visual import Visual
service = Service(Visual.open(Path(sys.argv[1])), tenant="t", run="r", version="1")
answer = service.answer(sys.stdin.buffer.read(), now=datetime.now(UTC), decision_id="d")
assert len(answer["products"]) == 10, answer
print(json.dumps([time.monotonic(), time.process_time()]))
"""
FILTERS: dict[str, dict[str, Any]] = {
    "half of the products": {"include": {"half": "h1"}},
    "a category of 20": {"include": {"category": "c7"}},
    "a brand of 10 products": {"include": {"brand": "b3"}},
}


def main() -> None:
    options = _options()
    rows: list[Row] = []
    with threadpool_limits(1):
        for count in options.products:
            for row in measured(count, options):
                rows.append(row)
                figures = "  ".join(f"{name} {value:,.4g}" for name, value in row.metrics.items())
                print(f"{row.model:<18} {row.set:<48} {figures}", flush=True)
    if options.json:
        write_rows(options.json, rows)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--products", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--dimensions", type=int, default=64)
    parser.add_argument("--questions", type=int, default=1_000)
    parser.add_argument("--spread", type=float, default=0.1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def make_embeddings(count: int, *, dimensions: int, spread: float) -> np.ndarray:
    """float32 (count, dimensions), rows of length one, about the centres of ten classes."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, dimensions))
    noise = rng.standard_normal((count, dimensions))
    rows = centres[rng.integers(0, CLASSES, count)] + spread * noise
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def measured(count: int, options: argparse.Namespace) -> Iterator[Row]:
    """Every row of one size of catalogue."""
    embeddings = make_embeddings(count, dimensions=options.dimensions, spread=options.spread)
    asked = np.random.default_rng(1).integers(0, count, options.questions + WARM_UP)
    bench = Bench(embeddings, asked)
    with tempfile.TemporaryDirectory() as folder:
        yield from ours(bench, Path(folder))
    yield from brute_force(bench)
    yield from faiss_indexes(bench)


class Bench:
    """The questions, codes of products, and the ten nearest of each by float64."""

    def __init__(self, embeddings: np.ndarray, asked: np.ndarray) -> None:
        self.embeddings = embeddings
        self.asked = asked
        self.exact = [self._nearest(code) for code in asked[WARM_UP:].tolist()]

    def _nearest(self, code: int) -> set[int]:
        cosines = self.embeddings @ self.embeddings[code]
        near = np.argpartition(-cosines, 10 * TOP)[: 10 * TOP]
        fine = self.embeddings[near].astype(np.float64) @ self.embeddings[code].astype(np.float64)
        fine[near == code] = -np.inf
        return set(near[np.argsort(-fine, kind="stable")[:TOP]].tolist())

    def timed(self, name: str, model: str, find: Find, *, more: dict[str, float]) -> Row:
        """Every question once; the first fifty only warm up. What `find` returns as codes of
        products is compared with the exact ten."""
        spent, hits, gave_codes = np.empty(len(self.asked)), 0, False
        gc.collect()
        for number, code in enumerate(self.asked.tolist()):
            started = time.process_time_ns()
            found = find(code)
            spent[number] = (time.process_time_ns() - started) / 1e3
            if number >= WARM_UP and isinstance(found, np.ndarray):
                gave_codes = True
                hits += len(self.exact[number - WARM_UP] & set(found.tolist()))
        spent = spent[WARM_UP:]
        metrics = {f"p{q}_us": float(np.percentile(spent, q)) for q in (10, 50, 99)}
        if gave_codes:
            metrics["recall_at_10"] = hits / (TOP * len(self.exact))
        label = f"{len(self.embeddings):,} products: {name}"
        return Row(
            "visual-serving", label, model, metrics | more, float(spent.sum() / 1e6), peak_mb()
        )


def ours(bench: Bench, folder: Path) -> Iterator[Row]:
    """Our core, opened from disk as a Lambda opens it."""
    started = time.process_time()
    write_model(folder, bench.embeddings)
    building = {"build_s": time.process_time() - started}
    visual = Visual.open(folder)

    def find(code: int) -> np.ndarray:
        return visual.nearest.find(bench.embeddings[code], TOP, without=[code])[0]

    yield bench.timed("top 10", "nextbest", find, more=building)
    yield bench.timed("top 10, JSON to JSON", "nextbest", _handler(visual, {}), more={})
    for name, fields in FILTERS.items():
        yield bench.timed(f"{name}, JSON to JSON", "nextbest", _handler(visual, fields), more={})
    picture = _encoded(picture_model.picture((200, 30, 30), size=(160, 160), format="JPEG"))
    for name, request in {
        "of a product": {"product": "p7"},
        "of a picture": {"image": picture},
    }.items():
        yield _cold(f"{len(bench.embeddings):,} products: cold start {name}", folder, request)


def write_model(folder: Path, embeddings: np.ndarray) -> None:
    """An artefact of these products; its network is a small one of the same width."""
    count = len(embeddings)
    codes = {
        "half": np.arange(count) % 2,
        "category": np.arange(count) * 7 // 5 % 20,
        "brand": np.arange(count) // 10,
    }
    specs = {
        name: {"type": "category", "array": name}
        | {"values": [f"{name[0]}{code}" for code in range(int(values.max()) + 1)]}
        for name, values in codes.items()
    }
    artifact.write(
        folder,
        manifest={"kind": KIND, "image_size": picture_model.SIZE, "channels": 3},
        arrays={"embeddings": embeddings}
        | {name: values.astype(np.int32) for name, values in codes.items()},
        tables={
            "product_ids": [f"p{number}" for number in range(count)],
            "columns": [{"name": "hue", "values": ["reddish", "other"]}],
            "attributes": specs,
        },
        files={
            "model.onnx": picture_model.network(width=embeddings.shape[1]),
            "search.onnx": search_graph(embeddings),
        },
    )


def _handler(visual: Visual, fields: dict[str, Any]) -> Find:
    service = Service(visual, tenant="t", run="r", version="1")

    def answer(code: int) -> str:
        body = msgspec.json.encode({"product": f"p{code}", "limit": TOP, **fields})
        return json.dumps(service.answer(body, now=NOW, decision_id="d"))

    return answer


def _encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _cold(label: str, folder: Path, request: dict[str, Any]) -> Row:
    """Fresh processes, one after the other: wall and CPU milliseconds to the first answer."""
    body, walls, cpus = msgspec.json.encode(request), [], []
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}  # as release-model sets it
    for _ in range(COLD_STARTS + 1):
        started = time.monotonic()  # of the machine, so the same to both processes
        command = [sys.executable, "-c", COLD, str(folder)]
        done = subprocess.run(
            command, input=body, check=True, env=environment, stdout=subprocess.PIPE
        )
        ended, seconds = json.loads(done.stdout)
        walls.append(1e3 * (ended - started))
        cpus.append(1e3 * seconds)
    # the first has brought the files into memory
    metrics = {"wall_ms": float(np.median(walls[1:])), "cpu_ms": float(np.median(cpus[1:]))}
    return Row("visual-serving", label, "nextbest", metrics, sum(cpus) / 1e3, peak_mb())


def brute_force(bench: Bench) -> Iterator[Row]:
    """All products in float32, and the best ten."""

    def find(code: int) -> np.ndarray:
        cosines = bench.embeddings @ bench.embeddings[code]
        cosines[code] = -np.inf
        best = np.argpartition(-cosines, TOP)[:TOP]
        return best[np.argsort(-cosines[best])]

    yield bench.timed("top 10", "numpy", find, more={})


def faiss_indexes(bench: Bench) -> Iterator[Row]:
    """faiss: exhaustive, by inverted lists, and a graph."""
    try:
        import faiss
    except ImportError:
        print(
            "faiss is not installed, its rows are left out: pip install -e '.[benchmarks]'",
            file=sys.stderr,
        )
        return
    faiss.omp_set_num_threads(1)
    width, lists = bench.embeddings.shape[1], round(len(bench.embeddings) ** 0.5)
    for name in ("Flat", f"IVF{lists},Flat", "HNSW32"):
        index = faiss.index_factory(width, name, faiss.METRIC_INNER_PRODUCT)
        started = time.process_time()
        index.train(bench.embeddings)
        index.add(bench.embeddings)
        building = {"build_s": time.process_time() - started}
        if name.startswith("IVF"):
            index.nprobe = max(1, lists // 32)
        yield bench.timed("top 10", f"faiss {name}", _searcher(index, bench), more=building)


def _searcher(index: Any, bench: Bench) -> Find:
    def find(code: int) -> np.ndarray:
        _, found = index.search(bench.embeddings[code : code + 1], TOP + 1)
        return np.asarray(found[0][found[0] != code][:TOP])

    return find


if __name__ == "__main__":
    main()
