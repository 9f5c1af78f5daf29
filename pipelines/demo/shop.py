"""A simulated home shop with known truth: tastes, habits, seasons. For the demo and the tests.

Customers have a taste over a few styles and over looks; products have a style, a category, a price
and a look, which only their pictures tell (`pictures`). A visit starts from a need (a category) and
goes on to what goes with it; consumables are bought again. One product in twelve came in during
the last weeks, and the newest have no history yet. Deterministic for a seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.demo import pictures

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
# How strongly looks divide customers, as a factor's exponent.
_LOOKS = 0.9
# Which part of the products came in lately, and how many days ago at most.
_LATE_SHARE, _LATE_DAYS = 1 / 12, 35.0


@dataclass(frozen=True)
class Shop:
    """Canonical tables and the truth behind them: `tastes` (customers, styles) and `eyes`
    (customers, looks), `appeal` (products,), `looks` (products, looks) and `ages` (products,) in
    days on the market. The last `newcomers` products have no interactions."""

    interactions: pd.DataFrame
    products: pd.DataFrame
    customers: pd.DataFrame
    tastes: np.ndarray
    appeal: np.ndarray
    eyes: np.ndarray
    looks: np.ndarray
    ages: np.ndarray
    newcomers: int

    def liking(self, product: int) -> np.ndarray:
        """How much each customer would like a product (its place), (customers,); its appeal, which
        is the same for all, is left out."""
        style = STYLES.index(self.products["style"].iloc[product])
        return np.asarray(
            _style_part(self.tastes[:, style]) * _charm(self.eyes, self.looks[product])
        )


def _style_part(taste: np.ndarray) -> np.ndarray:
    return taste + 0.02


def _charm(eyes: np.ndarray, look: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(_LOOKS * eyes @ look.T))


def simulate_shop(
    *,
    seed: int = 0,
    customers: int = 1200,
    products: int = 240,
    newcomers: int = 1,
    weeks: int = 20,
) -> Shop:
    """Simulate `weeks` up to `END`; `newcomers` more products came in on the last day."""
    rng = np.random.default_rng(seed)
    catalogue = _catalogue(rng, products, newcomers)
    tastes = rng.dirichlet(np.full(len(STYLES), 0.35), size=customers)
    appeal = rng.pareto(2.5, size=products) + 0.2
    seen = np.random.default_rng([seed, 6])
    looks = seen.normal(size=(products + newcomers, len(pictures.LOOKS)))
    eyes = seen.normal(size=(customers, len(pictures.LOOKS)))
    ages = np.full(products + newcomers, 7.0 * weeks)
    late = int(_LATE_SHARE * products)
    ages[products - late : products] = seen.uniform(3.0, _LATE_DAYS, size=late)
    ages[products:] = 0.0
    old = catalogue.iloc[:products]
    rows: list[tuple[str, str, str, datetime, str]] = []
    for customer in range(customers):
        charm = appeal * _charm(eyes[customer], looks[:products])
        rows += _life(rng, customer, tastes[customer], charm, old, ages[:products])
    frame = pd.DataFrame(
        rows, columns=["customer_id", "product_id", "event", "timestamp", "session_id"]
    ).sort_values("timestamp", kind="stable", ignore_index=True)
    people = pd.DataFrame({"customer_id": [f"customer-{n}" for n in range(customers)]})
    return Shop(frame, catalogue, people, tastes, appeal, eyes, looks, ages, newcomers)


def _catalogue(rng: np.random.Generator, count: int, newcomers: int) -> pd.DataFrame:
    names = [(c, s, t) for c, things in THINGS.items() for t in things for s in STYLES]
    picked = [names[i % len(names)] for i in rng.permutation(max(count, len(names)))[:count]]
    picked += [names[i % len(names)] for i in range(newcomers)]
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
    charm: np.ndarray,
    catalogue: pd.DataFrame,
    ages: np.ndarray,
) -> list[tuple[str, str, str, datetime, str]]:
    """All of one customer's interactions; `charm` (products,) is what each product is to them,
    but for its style; `ages` (products,) in days."""
    category = catalogue["category"].to_numpy()
    style = catalogue["style"].map(STYLES.index).to_numpy()
    ids = catalogue["product_id"].tolist()
    liking = charm * _style_part(taste[style])
    bought: list[int] = []
    rows: list[tuple[str, str, str, datetime, str]] = []
    before = -np.sort(-rng.uniform(0, ages.max(), size=1 + rng.poisson(5)))
    for visit, days in enumerate(before.tolist()):
        at, there = END - timedelta(days=days), np.where(ages >= days, liking, 0.0)
        session = f"s{customer}-{visit}"
        need = str(rng.choice(list(THINGS)))
        for step in range(1 + rng.poisson(3)):
            item = _next(rng, need, category, there, bought)
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


def write_shop(folder: Path, *, seed: int = 0, customers: int = 1200) -> Shop:
    """The simulated shop as a canonical folder, with pictures where Pillow is installed."""
    shop = simulate_shop(seed=seed, customers=customers)
    folder.mkdir(parents=True, exist_ok=True)
    products = write_pictures(shop, folder) if pictures.can_draw() else shop.products
    shop.interactions.to_parquet(folder / "interactions.parquet", index=False)
    products.to_parquet(folder / "products.parquet", index=False)
    shop.customers.to_parquet(folder / "customers.parquet", index=False)
    return shop


def write_pictures(shop: Shop, folder: Path) -> pd.DataFrame:
    """Draw every product into `folder`/images; the products with the column `image`."""
    names = []
    for number, (product, look) in enumerate(
        zip(shop.products.itertuples(), shop.looks, strict=True)
    ):
        thing = product.title.removeprefix(f"{product.style} ").partition(" No.")[0]
        names.append(f"images/{product.product_id}.png")
        drawn = pictures.draw_picture(
            thing, product.style, look, np.random.default_rng([7, number])
        )
        pictures.write_picture(folder / names[-1], drawn)
    return shop.products.assign(image=names)
