"""The demo's brand-new product on its first day: shown to those whom it would please.

Called by the tour. Tastes are simulated, so it is known whom the product would please most and
whom least; neither has ever seen it. They are asked for the first ten of its category.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console

from pipelines.commands.decide import render_products
from pipelines.demo.shop import END, Shop
from pipelines.errors import RunError
from pipelines.workspace import Workspace

ASKED = 20
PLACES = 10
_HISTORY = 30


@dataclass(frozen=True)
class Shown:
    """To how many of `ASKED` customers the product was shown, and what the best answer says."""

    count: int
    best: dict[str, Any] | None


def tour_first_day(workspace: Workspace, shop: Shop, console: Console) -> None:
    """Raises `RunError` where the product is shown to those whom it would please least as often
    as to those whom it would please most."""
    newest = shop.products.iloc[-1]
    order = np.argsort(-shop.liking(len(shop.products) - 1), kind="stable")
    console.print(f"  {newest['title']} came in today; nobody has looked at it yet")
    pleased = _show(workspace, shop, newest, order[:ASKED])
    others = _show(workspace, shop, newest, order[-ASKED:])
    console.print(f"  it is among the first {PLACES} of {newest['category']}")
    console.print(f"  for {pleased.count} of the {ASKED} customers whom it would please most,")
    console.print(f"  for {others.count} of the {ASKED} whom it would please least; for example")
    if pleased.best is None or pleased.count <= others.count:
        raise RunError(f"{newest['title']} was not recommended to those whom it would please")
    console.print(render_products(pleased.best))


def _show(workspace: Workspace, shop: Shop, product: pd.Series, customers: np.ndarray) -> Shown:
    """Ask for each customer (an index), with what the shop knows of them."""
    found: list[tuple[int, dict[str, Any]]] = []
    for customer in customers.tolist():
        request = {
            "history": _history(shop, customer),
            "include": {"category": [product["category"]]},
            "limit": PLACES,
            "now": END.isoformat(),
        }
        answer = workspace.decide(request)
        if "error" in answer:
            raise RunError(f"the live Lambda answers {answer} to {request}")
        ids = [shown["product_id"] for shown in answer["products"]]
        if product["product_id"] in ids:
            place = ids.index(product["product_id"])
            found.append((place, {**answer, "products": [answer["products"][place]]}))
    best = min(found, key=lambda pair: pair[0])[1] if found else None
    return Shown(len(found), best)


def _history(shop: Shop, customer: int) -> list[dict[str, str]]:
    mine = shop.interactions[shop.interactions["customer_id"] == f"customer-{customer}"]
    return [
        {"product_id": row.product_id, "event": row.event, "timestamp": row.timestamp.isoformat()}
        for row in mine.tail(_HISTORY).itertuples()
    ]
