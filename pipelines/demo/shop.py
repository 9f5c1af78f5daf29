"""A simulated home shop with known truth: tastes, habits, seasons. For the demo and the tests.

Customers have a taste over a few styles; products have a style, a category and a price. A visit
starts from a need (a category) and goes on to what goes with it; consumables are bought again.
Deterministic for a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

STYLES = ("Walnut", "Linen", "Copper", "Nordic", "Rattan", "Velvet")
THINGS = {
    "Lamps": ("desk lamp", "floor lamp", "pendant", "wall light"),
    "Bulbs": ("warm bulb", "filament bulb", "smart bulb"),
    "Textiles": ("cushion", "throw", "curtain", "rug"),
    "Kitchen": ("mug", "bowl", "chopping board", "carafe"),
    "Coffee": ("espresso beans", "filter coffee", "decaf beans"),
    "Candles": ("scented candle", "pillar candle", "tealights"),
}
GOES_WITH = {
    "Lamps": "Bulbs",
    "Bulbs": "Lamps",
    "Textiles": "Candles",
    "Kitchen": "Coffee",
    "Coffee": "Kitchen",
    "Candles": "Textiles",
}
CONSUMABLES = ("Bulbs", "Coffee", "Candles")
END = datetime(2026, 11, 1, tzinfo=UTC)
_STICKY = 0.55
_AGAIN = 0.6


@dataclass(frozen=True)
class Shop:
    """Canonical tables and the truth behind them: (customers, styles) and (products,) arrays."""

    interactions: pd.DataFrame
    products: pd.DataFrame
    customers: pd.DataFrame
    tastes: np.ndarray
    appeal: np.ndarray


def simulate_shop(
    *, seed: int = 0, customers: int = 1200, products: int = 240, weeks: int = 20
) -> Shop:
    """Simulate `weeks` up to `END`."""
    rng = np.random.default_rng(seed)
    catalogue = _catalogue(rng, products)
    tastes = rng.dirichlet(np.full(len(STYLES), 0.35), size=customers)
    appeal = rng.pareto(2.5, size=products) + 0.2
    rows: list[tuple[str, str, str, datetime, str]] = []
    for customer in range(customers):
        rows += _life(rng, customer, tastes[customer], appeal, catalogue, weeks)
    frame = pd.DataFrame(
        rows, columns=["customer_id", "product_id", "event", "timestamp", "session_id"]
    ).sort_values("timestamp", kind="stable", ignore_index=True)
    people = pd.DataFrame({"customer_id": [f"customer-{n}" for n in range(customers)]})
    return Shop(frame, catalogue, people, tastes, appeal)


def _catalogue(rng: np.random.Generator, count: int) -> pd.DataFrame:
    names = [(c, s, t) for c, things in THINGS.items() for t in things for s in STYLES]
    picked = [names[i % len(names)] for i in rng.permutation(max(count, len(names)))[:count]]
    rows = [
        {
            "product_id": f"{thing.split()[-1]}-{number}",
            "title": f"{style} {thing} No. {number}",
            "category": category,
            "style": style,
            "price": round(float(rng.lognormal(3.0, 0.6)), 2),
        }
        for number, (category, style, thing) in enumerate(picked)
    ]
    return pd.DataFrame(rows)


def _life(
    rng: np.random.Generator,
    customer: int,
    taste: np.ndarray,
    appeal: np.ndarray,
    catalogue: pd.DataFrame,
    weeks: int,
) -> list[tuple[str, str, str, datetime, str]]:
    """All of one customer's interactions."""
    category = catalogue["category"].to_numpy()
    style = catalogue["style"].map(STYLES.index).to_numpy()
    ids = catalogue["product_id"].tolist()
    liking = appeal * (taste[style] + 0.02)
    bought: list[int] = []
    rows: list[tuple[str, str, str, datetime, str]] = []
    for visit in range(1 + rng.poisson(5)):
        at = END - timedelta(days=float(rng.uniform(0, 7 * weeks)))
        session = f"s{customer}-{visit}"
        need = str(rng.choice(list(THINGS)))
        for step in range(1 + rng.poisson(3)):
            item = _next(rng, need, category, liking, bought)
            moment = at + timedelta(minutes=3 * step)
            event = "purchase" if rng.random() < 0.35 else "view"
            rows.append((f"customer-{customer}", ids[item], event, moment, session))
            if event == "purchase":
                bought.append(item)
                need = GOES_WITH[need]
            elif rng.random() > _STICKY:
                need = str(rng.choice(list(THINGS)))
    return rows


def _next(
    rng: np.random.Generator,
    need: str,
    category: np.ndarray,
    liking: np.ndarray,
    bought: list[int],
) -> int:
    again = [item for item in bought if category[item] == need]
    if need in CONSUMABLES and again and rng.random() < _AGAIN:
        return again[-1]
    weights = np.where(category == need, liking, 0.0)
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def write_shop(folder: Path, *, seed: int = 0, customers: int = 1200) -> None:
    """The simulated shop as a canonical folder."""
    shop = simulate_shop(seed=seed, customers=customers)
    folder.mkdir(parents=True, exist_ok=True)
    shop.interactions.to_parquet(folder / "interactions.parquet", index=False)
    shop.products.to_parquet(folder / "products.parquet", index=False)
    shop.customers.to_parquet(folder / "customers.parquet", index=False)
