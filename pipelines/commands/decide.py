"""`nextbest decide`: ask a live decision Lambda, as a shop would."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from pipelines.commands.decide_nudge import nudge
from pipelines.console import (
    JsonOption,
    StageOption,
    TenantOption,
    console,
    errors,
    print_json,
)
from pipelines.decisions import decide
from pipelines.errors import DecisionError
from pipelines.stage import open_stage

app = typer.Typer(help="Ask for decisions.", no_args_is_help=True)
app.command("nudge")(nudge)


@app.command("next-best-product")
def next_best_product(
    tenant: TenantOption,
    history: Annotated[str, typer.Option(help="Product ids, oldest first: A,B,C.")] = "",
    limit: Annotated[int, typer.Option(help="How many products.")] = 10,
    include: Annotated[
        list[str] | None, typer.Option(metavar="ATTRIBUTE=VALUE", help="Only these; repeatable.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="ATTRIBUTE=VALUE", help="Not these; repeatable.")
    ] = None,
    exclude_products: Annotated[str, typer.Option(help="Product ids not to show: A,B.")] = "",
    exclude_purchased: Annotated[bool, typer.Option(help="Nothing bought before.")] = False,
    context_product: Annotated[
        str | None, typer.Option(help="The product being looked at.")
    ] = None,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """The next best products for a history, with the reasons."""
    request: dict[str, Any] = {"history": _split(history), "limit": limit}
    request |= {"include": _filters(include), "exclude": _filters(exclude)}
    request |= {
        "exclude_products": _split(exclude_products),
        "exclude_purchased": exclude_purchased,
        "context_product": context_product,
    }
    unsaid = (None, False)
    given = {
        key: value
        for key, value in request.items()
        if value not in ({}, []) and not any(value is u for u in unsaid)
    }
    answer = decide(open_stage(stage), tenant, given)
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    if "error" in answer:
        raise typer.Exit(2)


def _split(ids: str) -> list[str]:
    return [part.strip() for part in ids.split(",") if part.strip()]


def _filters(pairs: list[str] | None) -> dict[str, list[str]]:
    filters: dict[str, list[str]] = {}
    for pair in pairs or []:
        attribute, equals, value = pair.partition("=")
        if not equals:
            raise DecisionError(
                f"{pair!r} is no filter; expected ATTRIBUTE=VALUE, e.g. category=Lamps"
            )
        filters.setdefault(attribute, []).append(value)
    return filters


def _print(answer: dict[str, Any]) -> None:
    if "error" in answer:
        error = answer["error"]
        errors.print(f"{error['code']} at {error['path']}: {error['message']}", style="red")
        return
    console.print(render_products(answer))
    for note in _notes(answer):
        console.print(note, style="dim")


def render_products(answer: dict[str, Any]) -> Table:
    """The products of an answer with their scores and main reasons."""
    titles = {product["product_id"]: product.get("title") for product in answer["products"]}
    table = Table("product", "title", "score", "because", box=None, pad_edge=False)
    for product in answer["products"]:
        reasons = sorted(product["reasons"], key=lambda reason: -abs(reason["contribution"]))
        because = ", ".join(_reason(reason, titles) for reason in reasons[:3])
        title = product.get("title") or ""
        table.add_row(product["product_id"], title, f"{product['score']:.4f}", because)
    return table


def _reason(reason: dict[str, Any], titles: dict[str, str | None]) -> str:
    product = reason.get("product_id")
    name = reason.get("title") or titles.get(product or "") or product
    kind = reason.get("kind", "")
    label = kind if not name else (f"{name} again" if kind == "repeat" else f"{name}")
    return f"{label} {reason['contribution']:+.3f}"


def _notes(answer: dict[str, Any]) -> list[str]:
    notes = [f"model version {answer['model_version']}, run {answer['run']}"]
    if answer.get("unknown_products"):
        notes.append(f"unknown to the model: {', '.join(answer['unknown_products'])}")
    if answer.get("fallback"):
        notes.append(f"fallback: {answer['fallback']}")
    if not answer["products"]:
        notes.append(f"no products: {answer.get('empty_reason') or answer.get('reason')}")
    return notes
