"""`nextbest decide`: ask a live decision Lambda, as a shop would."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from pipelines import decision_requests as requests
from pipelines.commands.decide_nudge import nudge
from pipelines.commands.decide_similar import similar_products
from pipelines.console import (
    JsonOption,
    StageOption,
    TenantOption,
    console,
    errors,
    print_json,
)
from pipelines.decisions import decide
from pipelines.stage import open_stage

app = typer.Typer(help="Ask for decisions.", no_args_is_help=True)
app.command("nudge")(nudge)
app.command("similar-products")(similar_products)

HistoryOption = Annotated[str, typer.Option(help="Product ids, oldest first: A,B,C.")]
CustomerOption = Annotated[
    str | None, typer.Option(help="Whose profile has the history, where none is given.")
]
LimitOption = Annotated[int | None, typer.Option(help="How many products; 10 unless said.")]
IncludeOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FILTER", help="Only these: category=Lamps, price<=20; repeatable."),
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option(metavar="FILTER", help="Not these; repeatable.")
]
ExcludeProductsOption = Annotated[str, typer.Option(help="Product ids not to show: A,B.")]
PromoteOption = Annotated[
    str | None,
    typer.Option(metavar="SHARE:FILTER", help="A guaranteed share of slots: 0.3:brand=Acme."),
]
AtMostOption = Annotated[
    str | None, typer.Option(metavar="ATTRIBUTE=N", help="At most N a value: brand=2.")
]
ExploreOption = Annotated[
    float | None, typer.Option(metavar="SHARE", help="Share of slots drawn from new products.")
]
RequestOption = Annotated[
    str | None,
    typer.Option(
        "--request", metavar="JSON", help="More fields of docs/decisions.md, or @FILE with them."
    ),
]


@app.command("next-best-product")
def next_best_product(
    tenant: TenantOption,
    history: HistoryOption = "",
    customer: CustomerOption = None,
    limit: LimitOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    exclude_products: ExcludeProductsOption = "",
    exclude_purchased: Annotated[bool, typer.Option(help="Nothing bought before.")] = False,
    repeat_after_days: Annotated[
        float | None, typer.Option(help="Nothing bought within these days.")
    ] = None,
    buy_again: Annotated[bool, typer.Option(help="Only what was bought before.")] = False,
    context_product: Annotated[
        str | None, typer.Option(help="The product being looked at.")
    ] = None,
    basket: Annotated[str, typer.Option(help="Products in the basket: A,B.")] = "",
    promote: PromoteOption = None,
    at_most: AtMostOption = None,
    explore: ExploreOption = None,
    minimum_score: Annotated[
        float | None, typer.Option(help="Below it, trending products fill the slots.")
    ] = None,
    event_weight: Annotated[
        list[str] | None,
        typer.Option(metavar="EVENT=NUMBER", help="What an event counts: view=0.2; repeatable."),
    ] = None,
    request: RequestOption = None,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """The next best products for a history, a product page or a basket, with the reasons."""
    fields = _fields(history, limit, include, exclude, exclude_products)
    fields |= _rules(promote, at_most, explore)
    fields |= {
        "customer_id": customer,
        "exclude_purchased": exclude_purchased,
        "repeat_after_days": repeat_after_days,
        "buy_again": buy_again,
        "context_product": context_product,
        "context_products": requests.split(basket),
        "minimum_score": minimum_score,
        "event_weights": requests.weights(event_weight or []),
    }
    _ask(stage, tenant, fields, request=request, as_json=as_json)


@app.command("similar")
def similar(
    tenant: TenantOption,
    product: Annotated[str, typer.Option(help="The product whose like is wanted.")],
    limit: LimitOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    exclude_products: ExcludeProductsOption = "",
    request: RequestOption = None,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """Products like a product."""
    fields = _fields("", limit, include, exclude, exclude_products)
    fields |= {"decision": "similar", "product": product}
    _ask(stage, tenant, fields, request=request, as_json=as_json)


@app.command("rank")
def rank(
    tenant: TenantOption,
    products: Annotated[str, typer.Option(help="The products to put in order: A,B,C.")],
    history: HistoryOption = "",
    customer: CustomerOption = None,
    limit: Annotated[int | None, typer.Option(help="How many products; all unless said.")] = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    request: RequestOption = None,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """The given products in the best order for a history."""
    fields = _fields(history, limit, include, exclude, "")
    fields |= {"customer_id": customer, "decision": "rank", "products": requests.split(products)}
    _ask(stage, tenant, fields, request=request, as_json=as_json)


@app.command("trending")
def trending(
    tenant: TenantOption,
    limit: LimitOption = None,
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    promote: PromoteOption = None,
    at_most: AtMostOption = None,
    request: RequestOption = None,
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """What is popular now."""
    fields = _fields("", limit, include, exclude, "") | {"decision": "trending"}
    fields |= _rules(promote, at_most, None)
    _ask(stage, tenant, fields, request=request, as_json=as_json)


def _fields(
    history: str,
    limit: int | None,
    include: list[str] | None,
    exclude: list[str] | None,
    exclude_products: str,
) -> dict[str, Any]:
    return {
        "history": requests.split(history),
        "limit": limit,
        "include": requests.filters(include or []),
        "exclude": requests.filters(exclude or []),
        "exclude_products": requests.split(exclude_products),
    }


def _rules(promote: str | None, at_most: str | None, explore: float | None) -> dict[str, Any]:
    return {
        "promote": None if promote is None else requests.promotion(promote),
        "diversity": None if at_most is None else requests.quota(at_most),
        "explore": None if explore is None else {"share": explore},
    }


def _ask(
    stage: str | None,
    tenant: str,
    fields: dict[str, Any],
    *,
    request: str | None,
    as_json: bool,
) -> None:
    more = {} if request is None else requests.from_json(request)
    asked = requests.given(fields) | more
    answer = decide(open_stage(stage), tenant, asked)
    if as_json:
        print_json(answer)
    else:
        _print(answer, customer=None if "now" in asked else asked.get("customer_id"))
    if "error" in answer:
        raise typer.Exit(2)


def _print(answer: dict[str, Any], *, customer: str | None = None) -> None:
    if "error" in answer:
        error = answer["error"]
        said = f"{error['code']} at {error['path']}: {error['message']}"
        errors.print(said, style="red", markup=False)
        return
    console.print(render_products(answer), markup=False)
    for note in _notes(answer, customer=customer):
        console.print(note, style="dim", markup=False)


def render_products(answer: dict[str, Any]) -> Table:
    """The products of an answer with their scores, marks and main reasons."""
    titles = {product["product_id"]: product.get("title") for product in answer["products"]}
    table = Table("product", "title", "score", "because", box=None, pad_edge=False)
    for product in answer["products"]:
        reasons = sorted(product["reasons"], key=lambda reason: -abs(reason["contribution"]))
        because = ", ".join([*_marks(product), *(_reason(r, titles) for r in reasons[:3])])
        title = product.get("title") or ""
        table.add_row(product["product_id"], title, f"{product['score']:.4f}", because)
    return table


def _marks(product: dict[str, Any]) -> list[str]:
    """Why a product is here other than by its score, and how likely that was."""
    marks = [mark for mark in ("promoted", "fallback") if product.get(mark)]
    if product.get("explored"):
        marks.append("new")
    propensity = product.get("propensity", 1.0)
    return marks if propensity == 1.0 else [*marks, f"chance {propensity:.3f}"]


_WORDS = {"repeat": "{} again", "similar": "like {}", "context": "goes with {}"}


def _reason(reason: dict[str, Any], titles: dict[str, str | None]) -> str:
    product = reason.get("product_id")
    name = reason.get("title") or titles.get(product or "") or product
    kind = reason.get("kind", "")
    label = _WORDS.get(kind, "{}").format(name) if name else kind
    return f"{label} {reason['contribution']:+.3f}"


def _notes(answer: dict[str, Any], *, customer: str | None = None) -> list[str]:
    notes = [f"model version {answer['model_version']}, run {answer['run']}"]
    could_be_known = customer is not None and not answer.get("degraded")
    if could_be_known and answer.get("history_from", "a version without profiles") is None:
        notes.append(f"no history: events fill the profile of {customer}, imports do not")
    if answer.get("unknown_products"):
        notes.append(f"unknown to the model: {', '.join(answer['unknown_products'])}")
    if answer.get("fallback"):
        notes.append(f"fallback: {answer['fallback']}")
    if not answer["products"]:
        notes.append(f"no products: {answer.get('empty_reason') or answer.get('reason')}")
    return notes
