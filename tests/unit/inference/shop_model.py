"""A random shop of forty products with attributes of every type, and what a filter should leave.

The oracle reads plain Python values, product by product, and shares no code with `inference`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from inference.artifact import Artifact
from inference.factors import factor_arrays
from inference.neighbours import neighbour_arrays
from inference.recommender import KIND, Recommender
from tests.unit.inference.stored_neighbours import csr_arrays

NOW = datetime(2026, 3, 1, tzinfo=UTC)
COUNT = 40
IDS = [f"p{code:02d}" for code in range(COUNT)]
BRANDS = ["ash", "birch", "cedar"]
TAGS = ["red", "soft", "gift", "sale"]
SERVING = {
    "repeat_weight": 0.4,
    "trend_weight": 0.05,
    "decay": 0.8,
    "lasting_decay": 0.95,
    "lasting_weight": 0.6,
    "history_length": 6,
    "event_weights": {"view": 0.25},
}


@dataclass(frozen=True)
class Product:
    """A product as a person would read it; None is missing."""

    brand: str | None
    price: float | None
    tags: tuple[str, ...]
    available_from: datetime | None
    available_until: datetime | None
    in_stock: bool | None


@dataclass(frozen=True, repr=False)
class Shop:
    """The model, and the same facts in plain values."""

    model: Recommender
    products: list[Product]
    recent: np.ndarray
    lasting: np.ndarray
    trend: np.ndarray
    factors: np.ndarray | None = None
    gram: np.ndarray | None = None
    parameters: dict[str, Any] = field(default_factory=dict)


def product(rng: np.random.Generator) -> Product:
    def maybe(value: Any) -> Any:
        return None if rng.random() < 0.15 else value

    return Product(
        brand=maybe(BRANDS[int(rng.integers(3))]),
        price=maybe(float(rng.integers(1, 9))),
        tags=tuple(tag for tag in TAGS if rng.random() < 0.4),
        available_from=maybe(NOW - timedelta(days=int(rng.integers(-5, 90)))),
        available_until=maybe(NOW + timedelta(days=int(rng.integers(-5, 90)))),
        in_stock=maybe(bool(rng.random() < 0.85)),
    )


def shop(seed: int = 0, *, with_factors: bool = False, **serving: Any) -> Shop:
    """A shop of random everything."""
    rng = np.random.default_rng(seed)
    products = [product(rng) for _ in range(COUNT)]
    pattern = (rng.random((COUNT, COUNT)) < 0.3) & ~np.eye(COUNT, dtype=bool)
    recent = np.where(pattern, rng.random((COUNT, COUNT)), 0.0)
    lasting = np.where(pattern, rng.random((COUNT, COUNT)), 0.0)
    trend = np.round(rng.random(COUNT), 3).astype(np.float32)
    rows, columns = np.nonzero(pattern)
    indptr = np.concatenate(([0], np.cumsum(pattern.sum(axis=1))))
    arrays = neighbour_arrays(
        indptr, columns, recent[rows, columns], lasting[rows, columns], width=COUNT
    )
    served = [_dense(csr_arrays(arrays, name)) for name in ("recent", "lasting")]
    arrays |= {"trend": trend, "trend_order": np.argsort(-trend, kind="stable").astype(np.int32)}
    factors = gram = None
    if with_factors:
        factors = rng.random((COUNT, 6))
        gram = factors.T @ factors + np.eye(6)
        arrays |= factor_arrays(factors, gram)
    tables, columns_of = _attributes(products)
    parameters = {**SERVING, **serving}
    artifact = Artifact(
        manifest={"kind": KIND, "serving": parameters},
        arrays=arrays | columns_of,
        tables={"product_ids": IDS, "titles": [i.upper() for i in IDS], "attributes": tables},
    )
    return Shop(
        Recommender(artifact),
        products,
        served[0],
        served[1],
        trend.astype(float),
        factors,
        gram,
        parameters,
    )


def _dense(csr: tuple[np.ndarray, np.ndarray, np.ndarray]) -> np.ndarray:
    indptr, indices, values = csr
    dense = np.zeros((COUNT, COUNT))
    dense[np.repeat(np.arange(COUNT), np.diff(indptr)), indices] = values
    return dense


def _attributes(products: list[Product]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    def codes(values: list[str | None], known: list[str]) -> np.ndarray:
        return np.array([-1 if v is None else known.index(v) for v in values], dtype=np.int32)

    def times(values: list[datetime | None]) -> np.ndarray:
        return np.array([np.nan if v is None else v.timestamp() for v in values])

    stock = [None if p.in_stock is None else str(p.in_stock).lower() for p in products]
    arrays = {
        "a_brand": codes([p.brand for p in products], BRANDS),
        "a_price": np.array([np.nan if p.price is None else p.price for p in products]),
        "a_tags": np.array([TAGS.index(t) for p in products for t in p.tags], dtype=np.int32),
        "a_tags_at": np.concatenate(([0], np.cumsum([len(p.tags) for p in products]))),
        "a_from": times([p.available_from for p in products]),
        "a_until": times([p.available_until for p in products]),
        "a_stock": codes(stock, ["false", "true"]),
    }
    specs = {
        "brand": {"type": "category", "array": "a_brand", "values": BRANDS},
        "price": {"type": "number", "array": "a_price"},
        "tags": {"type": "tags", "array": "a_tags", "indptr": "a_tags_at", "values": TAGS},
        "available_from": {"type": "time", "array": "a_from"},
        "available_until": {"type": "time", "array": "a_until"},
        "in_stock": {"type": "category", "array": "a_stock", "values": ["false", "true"]},
    }
    return specs, arrays


def is_available(item: Product) -> bool:
    """Whether a shopper could buy it at NOW."""
    return not (
        (item.available_from is not None and item.available_from > NOW)
        or (item.available_until is not None and item.available_until < NOW)
        or item.in_stock is False
    )


def matches(item: Product, name: str, condition: Any) -> bool:
    """Whether a product's attribute is as the condition says."""
    value = getattr(item, name)
    if not isinstance(condition, dict):
        condition = {"in": condition if isinstance(condition, list) else [condition]}
    own = set(value) if name == "tags" else {value} - {None}
    checks = []
    for kind, wanted in condition.items():
        given = wanted if isinstance(wanted, list) else [wanted]
        if kind in ("in", "any"):
            checks.append(bool(own & set(given)))
        elif kind == "all":
            checks.append(own >= set(given))
        elif kind == "not":
            checks.append(not own & set(given))
        elif kind == "min":
            checks.append(value is not None and value >= _bound(wanted))
        else:
            checks.append(value is not None and value <= _bound(wanted))
    return all(checks)


def _bound(value: Any) -> Any:
    return datetime.fromisoformat(value) if isinstance(value, str) else value


def scores(given: Shop, history: list[tuple[str, str]]) -> np.ndarray:
    """The formula of `inference.recommender`, one event at a time, without times or factors."""
    p = {"repeat_decay": 0.98, **given.parameters}
    weight = [p["event_weights"].get(event, 1.0) for _, event in history]
    codes = [IDS.index(product_id) for product_id, _ in history]
    recent, lasting, repeat = np.zeros(COUNT), np.zeros(COUNT), np.zeros(COUNT)
    sums = [0.0, 0.0]
    for back, (code, amount) in enumerate(zip(codes[::-1], weight[::-1], strict=True)):
        repeat[code] += amount * p["repeat_decay"] ** back
        if back < p["history_length"]:
            a, b = amount * p["decay"] ** back, amount * p["lasting_decay"] ** back
            recent += a * given.recent[code]
            lasting += b * given.lasting[code]
            sums = [sums[0] + a, sums[1] + b]
    if sums[0] > 0:
        recent, lasting = recent / sums[0], lasting / sums[1]
    found = recent + p["lasting_weight"] * lasting + p["trend_weight"] * given.trend
    if not codes:
        return found
    return found + p["repeat_weight"] * (repeat / repeat.max() if repeat.max() > 0 else 0.0)
