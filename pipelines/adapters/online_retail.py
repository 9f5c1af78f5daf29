"""The UCI Online Retail invoices as published: one line per product of an invoice.

As a shop would want it: a line without a customer is nobody's history; postage, fees and manual
entries are no products; a return is no purchase, and it takes back the customer's latest earlier
purchase of that product if the whole quantity came back.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.adapters.dates import written_times
from pipelines.adapters.raw import Raw
from training.columns import numbers, require_columns
from training.table_files import read_table

COLUMNS = (
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
)
# Codes of goods are five digits and perhaps letters; POST, DOT, M, BANK CHARGES, gift_… are not.
GOODS = r"\d{5}[A-Za-z]{0,2}"
_TABLE = "online retail"


def detects(path: Path, header: list[str]) -> bool:
    return {"InvoiceNo", "StockCode", "CustomerID"} <= set(header)


def read(path: Path, *, progress: Callable[[float], None]) -> Raw:
    """Interactions (event `purchase`, session = invoice) and products with title and price."""
    lines = read_table(path, progress=progress)
    require_columns(lines, COLUMNS, table=_TABLE)
    lines["quantity"] = numbers(lines, "Quantity", table=_TABLE)
    lines["price"] = numbers(lines, "UnitPrice", table=_TABLE)
    lines["timestamp"], dates = written_times(lines, "InvoiceDate", table=_TABLE)
    lines["customer_id"] = lines["CustomerID"].str.strip().str.removesuffix(".0")
    reason = _reasons(lines)
    goods = lines[reason == ""]
    taken_back = _taken_back(goods, lines[reason == "return"])
    kept = goods[~goods.index.isin(taken_back)]
    reason[taken_back] = "bought and returned whole"
    aside = lines[reason != ""].assign(reason=reason[reason != ""])
    return Raw(
        tables={"interactions": _interactions(kept), "products": _products(kept)},
        notes=(*_notes(aside), *([dates] if dates else [])),
        set_aside=aside,
    )


def _reasons(lines: pd.DataFrame) -> pd.Series:
    """Why a line is no purchase of goods; empty for one that is."""
    cancelled = lines["InvoiceNo"].str.upper().str.startswith("C")
    rules = (
        ("no customer", lines["customer_id"] == ""),
        ("not goods (postage, fees, vouchers)", ~lines["StockCode"].str.fullmatch(GOODS)),
        ("return", cancelled | (lines["quantity"] <= 0)),
        ("no price (samples, damages)", lines["price"] <= 0),
    )
    reason = pd.Series("", index=lines.index, dtype=object)
    for name, rule in reversed(rules):
        reason[rule] = name
    return reason


def _taken_back(goods: pd.DataFrame, returns: pd.DataFrame) -> list[int]:
    """Index of purchases that a later return undoes: the latest of equal quantity before it."""
    keys = ["customer_id", "StockCode"]
    bought = goods.reset_index().sort_values("timestamp", kind="stable")
    back = returns.assign(quantity=-returns["quantity"]).sort_values("timestamp", kind="stable")
    pairs = pd.merge_asof(
        back[[*keys, "quantity", "timestamp"]],
        bought[[*keys, "quantity", "timestamp", "index"]],
        on="timestamp",
        by=[*keys, "quantity"],
        direction="backward",
    )
    return pairs["index"].dropna().astype(int).unique().tolist()


def _interactions(lines: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "customer_id": lines["customer_id"],
            "product_id": lines["StockCode"].str.strip().str.upper(),
            "event": "purchase",
            "timestamp": lines["timestamp"],
            "value": np.round(lines["quantity"] * lines["price"], 2),
            "quantity": lines["quantity"],
            "session_id": lines["InvoiceNo"],
        }
    )


def _products(lines: pd.DataFrame) -> pd.DataFrame:
    """Title: the most frequent description; price: the median."""
    frame = pd.DataFrame(
        {
            "product_id": lines["StockCode"].str.strip().str.upper(),
            "title": lines["Description"].str.strip(),
            "price": lines["price"],
        }
    )
    counts = frame.groupby(["product_id", "title"]).size().reset_index(name="count")
    counts = counts.sort_values(["product_id", "count", "title"], ascending=[True, False, True])
    titles = counts.drop_duplicates("product_id")[["product_id", "title"]]
    prices = frame.groupby("product_id")["price"].median().reset_index()
    return titles.merge(prices, on="product_id")


def _notes(aside: pd.DataFrame) -> tuple[str, ...]:
    counts = aside["reason"].value_counts()
    return (
        f"{counts.get('no customer', 0):,} lines name no customer: nobody's history, set aside",
        f"{counts.get('return', 0):,} lines are returns or cancellations: no purchases; "
        f"{counts.get('bought and returned whole', 0):,} purchases that came back whole went too",
        "products that are not goods (postage, fees, vouchers) are never recommended",
    )
