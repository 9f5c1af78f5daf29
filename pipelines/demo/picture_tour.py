"""The demo's pictures: an image model learns them, and says what looks alike.

Called by the tour before the recommender is trained, which takes the embeddings as one more part.
Needs PyTorch; where that is not installed the demo does the rest.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
from rich.console import Console

from pipelines.commands.decide_similar import render_similar
from pipelines.demo.nudge_tour import StepTimer, train_to_end
from pipelines.demo.shop import Shop
from pipelines.errors import RunError
from pipelines.workspace import Workspace

KIND, DECISION = "image-model", "similar-products"
# Small pictures of 240 products: a small network sees all there is to see.
SETTINGS: dict[str, Any] = {
    "labels": "style,category",
    "image_size": 32,
    "widths": 16,
    "threads": 1,
}
_NEEDED = ("torch", "onnx", "onnxruntime", "PIL")
_ASKED = 40
_SHOWN = 5


def can_see() -> bool:
    """Whether what an image model needs is installed."""
    return all(importlib.util.find_spec(name) is not None for name in _NEEDED)


def tour_pictures(workspace: Workspace, shop: Shop, steps: StepTimer, console: Console) -> None:
    """Train on the shop's pictures, release, ask. Raises `RunError` when a step falls short."""
    if not can_see():
        console.print(
            "The shop's pictures are left out: PyTorch is not installed. Add it with "
            "[bold]make images[/], then take the tour again."
        )
        return
    with steps.step("Learn what the products look like, gate and release"):
        train_to_end(workspace, KIND, SETTINGS, console)
    with steps.step("Ask what looks alike"):
        _ask(workspace, shop, console)


def _ask(workspace: Workspace, shop: Shop, console: Console) -> None:
    """Show the look-alikes of one product, and how often those of `_ASKED` are of its style."""
    products = shop.products.set_index("product_id")
    asked = products.index[:: max(1, len(products) // _ASKED)]
    hits: list[float] = []
    for product in asked:
        answer = workspace.decide({"product": product, "limit": _SHOWN}, decision=DECISION)
        found = [shown["product_id"] for shown in answer.get("products", [])]
        if not found:
            raise RunError(f"the live Lambda knows nothing like {product}: {answer}")
        hits.append(float((products["style"][found] == products["style"][product]).mean()))
    first = asked[0]
    console.print(f"  what looks like {products['title'][first]}")
    shown = workspace.decide({"product": first, "limit": _SHOWN}, decision=DECISION)
    console.print(render_similar(shown))
    share, chance = float(np.mean(hits)), _chance(shop)
    console.print(f"  {share:.0%} of look-alikes are of the same style; by chance {chance:.0%}")
    if share <= chance:
        raise RunError("what the image model takes for alike is not more of a style than chance")


def _chance(shop: Shop) -> float:
    """How often two products are of one style."""
    shares = shop.products["style"].value_counts(normalize=True)
    return float((shares**2).sum())
