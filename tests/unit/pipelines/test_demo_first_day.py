"""The first day of the demo's newest product, told by what the Lambda answers."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from pipelines.demo.first_day import ASKED, tour_first_day
from pipelines.demo.shop import Shop, simulate_shop
from pipelines.errors import RunError


class Live:
    """A workspace whose Lambda shows the newest product to the customers with these histories."""

    def __init__(self, shop: Shop, fans: set[str]) -> None:
        self.newest = shop.products["product_id"].iloc[-1]
        mine = shop.interactions[shop.interactions["customer_id"].isin(fans)]
        self.histories = {
            tuple(rows["product_id"].tail(30)) for _, rows in mine.groupby("customer_id")
        }

    def decide(self, request: dict[str, Any]) -> dict[str, Any]:
        history = tuple(event["product_id"] for event in request["history"])
        shown = [self.newest] if history in self.histories else ["another"]
        reason = {"kind": "history", "contribution": 0.5, "product_id": history[0]}
        return {"products": [{"product_id": p, "score": 0.5, "reasons": [reason]} for p in shown]}


@pytest.fixture(scope="module")
def shop() -> Shop:
    return simulate_shop(customers=80)


def order_of(shop: Shop) -> list[str]:
    liked = np.argsort(-shop.liking(len(shop.products) - 1), kind="stable")
    return [f"customer-{n}" for n in liked.tolist()]


def test_it_tells_how_many_were_shown_the_newest_and_why(shop: Shop) -> None:
    output = io.StringIO()
    live = Live(shop, set(order_of(shop)[:3]))
    tour_first_day(live, shop, Console(file=output, width=120))  # type: ignore[arg-type]
    text = output.getvalue()
    assert f"for 3 of the {ASKED} customers whom it would please most" in text
    assert f"for 0 of the {ASKED} whom it would please least" in text
    assert live.newest in text
    assert "+0.500" in text


@pytest.mark.parametrize("shown", [slice(0, 0), slice(-3, None)])
def test_it_fails_where_those_it_would_please_do_not_see_it(shop: Shop, shown: slice) -> None:
    live = Live(shop, set(order_of(shop)[shown]))
    with pytest.raises(RunError, match="was not recommended"):
        tour_first_day(live, shop, Console(file=io.StringIO()))  # type: ignore[arg-type]
