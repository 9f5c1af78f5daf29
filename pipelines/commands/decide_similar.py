"""`nextbest decide similar-products`: what looks like a product, or like a picture."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from pipelines import decision_requests as requests
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

_MAXIMUM_BYTES = 4 * 2**20  # a Lambda takes 6 MB of request, and base64 makes four bytes of three


def similar_products(
    tenant: TenantOption,
    product: Annotated[str | None, typer.Option(help="The product whose like is wanted.")] = None,
    image: Annotated[Path | None, typer.Option(help="Or a picture: a file of yours.")] = None,
    image_key: Annotated[
        str | None, typer.Option(help="Or one in the stage's bucket: tenants/TENANT/pictures/….")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="How many products; 10 unless said.")] = None,
    include: Annotated[
        list[str] | None, typer.Option(metavar="FILTER", help="Only these: category=Lamps.")
    ] = None,
    exclude: Annotated[
        list[str] | None, typer.Option(metavar="FILTER", help="Not these; repeatable.")
    ] = None,
    exclude_products: Annotated[str, typer.Option(help="Product ids not to show: A,B.")] = "",
    as_json: JsonOption = False,
    stage: StageOption = None,
) -> None:
    """Products that look alike, nearest first; of a picture also what the model takes it for."""
    fields = {
        "product": product,
        "image": None if image is None else _encoded(image),
        "image_key": image_key,
        "limit": limit,
        "include": requests.filters(include or []),
        "exclude": requests.filters(exclude or []),
        "exclude_products": requests.split(exclude_products),
    }
    answer = decide(open_stage(stage), tenant, requests.given(fields), decision="similar-products")
    if as_json:
        print_json(answer)
    else:
        _print(answer)
    if "error" in answer:
        raise typer.Exit(2)


def _encoded(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DecisionError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MAXIMUM_BYTES:
        raise DecisionError(
            f"{path} has {len(content):,} bytes; at most {_MAXIMUM_BYTES:,} fit into a request. "
            "Put it into the stage's bucket and use --image-key"
        )
    return base64.b64encode(content).decode()


def _print(answer: dict[str, Any]) -> None:
    if "error" in answer:
        error = answer["error"]
        said = f"{error['code']} at {error['path']}: {error['message']}"
        errors.print(said, style="red", markup=False)
        return
    for column, values in answer["labels"].items():
        shown = ", ".join(f"{value} {chance:.0%}" for value, chance in values.items())
        console.print(f"{column}: {shown}", markup=False)
    console.print(render_similar(answer))
    console.print(f"model version {answer['model_version']}, run {answer['run']}", style="dim")
    if answer["empty_reason"]:
        console.print(answer["empty_reason"], style="dim", markup=False)


def render_similar(answer: dict[str, Any]) -> Table:
    """The products of an answer and how much they look alike."""
    table = Table("product", "title", "similarity", box=None, pad_edge=False)
    for product in answer["products"]:
        title = escape(product.get("title") or "")
        table.add_row(escape(product["product_id"]), title, f"{product['similarity']:.3f}")
    return table
