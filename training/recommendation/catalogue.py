"""What is known of the products: titles, attributes for filters, tokens for content similarity."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from inference.features import as_text

_MAX_CATEGORIES = 5000
_WORD = re.compile(r"\w\w+")
_TIMES = ("available_from", "available_until")
_NO_ATTRIBUTE = ("title", "image")


@dataclass(frozen=True)
class Tokens:
    """Tokens of each product in CSR form: product `p` has `codes[indptr[p]:indptr[p + 1]]`."""

    indptr: np.ndarray
    codes: np.ndarray

    @property
    def count(self) -> int:
        """How many different tokens there are."""
        return int(self.codes.max(initial=-1)) + 1


def catalogue(
    products: pd.DataFrame | None, product_ids: pd.Index
) -> tuple[dict[str, Any], Tokens]:
    """Titles and filterable attributes (plain JSON) and tokens, in the order of `product_ids`.

    An attribute is `{"type": "number" | "time", "codes": [value or None]}`, `{"type": "category",
    "values", "codes": [code or -1]}` or `{"type": "tags", "values", "codes": [[code, …], …]}`.
    Text of too many different values is no filter, but its words are tokens.
    """
    if products is None:
        nothing = Tokens(np.zeros(len(product_ids) + 1, np.int64), np.zeros(0, np.int32))
        return {"titles": None, "attributes": {}}, nothing
    table = products.set_index("product_id").reindex(product_ids)
    titles = [_text(value) for value in table["title"]] if "title" in table.columns else None
    columns = [column for column in table.columns if column not in _NO_ATTRIBUTE]
    attributes = {str(column): _attribute(str(column), table[column]) for column in columns}
    described = {name: spec for name, spec in attributes.items() if spec is not None}
    texts = [table[c] for c in columns if attributes[str(c)] is None]
    tokens = _tokens(len(product_ids), titles, described, texts)
    return {"titles": titles, "attributes": described}, tokens


def _attribute(name: str, column: pd.Series) -> dict[str, Any] | None:
    if name in _TIMES:
        moments = pd.to_datetime(column, utc=True)
        return {"type": "time", "codes": [None if pd.isna(m) else m.timestamp() for m in moments]}
    if column.map(lambda value: isinstance(value, list | tuple | np.ndarray)).any():
        return _tags(column)
    if column.dropna().map(lambda value: isinstance(value, bool | np.bool_)).all():
        column = column.map({True: "true", False: "false"})
    elif pd.api.types.is_numeric_dtype(column):
        numbers = column.astype(float)
        finite = np.isfinite(numbers)
        return {
            "type": "number",
            "codes": [float(v) if ok else None for v, ok in zip(numbers, finite, strict=True)],
        }
    return _category([_text(value) for value in column])


def _category(texts: list[str | None]) -> dict[str, Any] | None:
    values = sorted({text for text in texts if text is not None})
    known = sum(text is not None for text in texts)
    words = sum(text.count(" ") + 1 for text in values)
    prose = len(values) > max(50, known / 2) and words >= 3 * len(values)
    if len(values) > _MAX_CATEGORIES or prose:
        return None
    code = {value: number for number, value in enumerate(values)}
    codes = [-1 if text is None else code[text] for text in texts]
    return {"type": "category", "values": values, "codes": codes}


def _tags(column: pd.Series) -> dict[str, Any]:
    lists = [
        [as_text(tag) for tag in value] if isinstance(value, list | tuple | np.ndarray) else []
        for value in column
    ]
    values = sorted({tag for tags in lists for tag in tags})
    code = {value: number for number, value in enumerate(values)}
    return {
        "type": "tags",
        "values": values,
        "codes": [sorted({code[tag] for tag in tags}) for tags in lists],
    }


def _tokens(
    count: int,
    titles: list[str | None] | None,
    attributes: dict[str, Any],
    texts: list[pd.Series],
) -> Tokens:
    of_product: list[set[str]] = [set() for _ in range(count)]
    for name, spec in attributes.items():
        for product, values in _valued(spec):
            of_product[product].update(f"{name}={value}" for value in values)
    for column in ([titles] if titles else []) + [list(text) for text in texts]:
        for product, value in enumerate(column):
            of_product[product].update(_WORD.findall((_text(value) or "").lower()))
    vocabulary: dict[str, int] = {}
    codes = [
        [vocabulary.setdefault(token, len(vocabulary)) for token in sorted(tokens)]
        for tokens in of_product
    ]
    indptr = np.concatenate(([0], np.cumsum([len(tokens) for tokens in codes])))
    flat = np.array([code for tokens in codes for code in tokens], dtype=np.int32)
    return Tokens(indptr.astype(np.int64), flat)


def _valued(spec: dict[str, Any]) -> Iterator[tuple[int, list[str]]]:
    """Products and their values, of categories and tags."""
    if spec["type"] not in ("category", "tags"):
        return
    for product, code in enumerate(spec["codes"]):
        codes = code if isinstance(code, list) else [code]
        yield product, [spec["values"][c] for c in codes if c >= 0]


def _text(value: Any) -> str | None:
    missing = value is None or value is pd.NA or value != value or value == ""
    return None if missing else as_text(value)


def attribute_arrays(meta: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The table `attributes` and its arrays, as `inference.filters` reads them."""
    specs: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for number, (name, spec) in enumerate(sorted(meta.items())):
        key = f"attribute_{number}"
        specs[name] = {"type": spec["type"], "array": key}
        if spec["type"] in ("number", "time"):
            codes = [np.nan if value is None else value for value in spec["codes"]]
            arrays[key] = np.array(codes, dtype=np.float64)
            continue
        specs[name]["values"] = spec["values"]
        codes = spec["codes"]
        if spec["type"] == "tags":
            specs[name]["indptr"] = f"{key}_indptr"
            lengths = [len(tags) for tags in codes]
            arrays[f"{key}_indptr"] = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
            codes = [code for tags in codes for code in tags]
        arrays[key] = np.array(codes, dtype=np.int32)
    return specs, arrays
