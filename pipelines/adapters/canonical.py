"""Canonical folders, single files, and any CSV with `--map column=theirs`."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from pipelines.adapters.raw import Raw
from training.columns import holds_lists
from training.datasets import INTERACTIONS, OPTIONAL
from training.errors import DataQualityError
from training.image.pictures import Pictures
from training.image.tables import open_pictures
from training.nudge.tables import NUDGES, read_guardrails
from training.table_files import find_table, read_table

TAGS_SUFFIX = "_tags"
_MAPPABLE = (*dict.fromkeys((*INTERACTIONS, *OPTIONAL, *NUDGES, "eligible")),)
TABLES = ("interactions", "products", "customers", "nudges", "actions")


def read_folder(
    folder: Path, mapping: Mapping[str, str], *, progress: Callable[[float], None]
) -> Raw:
    """`interactions` with `products` and `customers`, or `nudges` with `actions`, or all of them.

    A mapping is for interactions, or for nudges where there are no interactions.
    """
    paths = {table: find_table(folder, table) for table in TABLES}
    tables = {t: read_table(path, progress=progress) for t, path in paths.items() if path}
    main = next((name for name in ("interactions", "nudges") if name in tables), None)
    pictures = _pictures(folder, tables.get("products"))
    if main is None and pictures is None:
        raise DataQualityError(
            f"{folder}: no interactions.parquet or interactions.csv in it, nor nudges, nor "
            "products with pictures; "
            f"it holds {', '.join(sorted(p.name for p in folder.iterdir())[:8]) or 'nothing'}"
        )
    if main is not None:
        tables[main] = apply_mapping(tables[main], mapping)
    if "products" in tables:
        tables["products"] = _with_tags(tables["products"])
    return Raw(tables=tables, guardrails=read_guardrails(folder), pictures=pictures)


def _pictures(folder: Path, products: pd.DataFrame | None) -> Pictures | None:
    """The pictures in the folder, where the products' `image` names any of them."""
    if products is None or "image" not in products.columns:
        return None
    pictures = open_pictures(folder)
    named = set(products["image"].dropna().astype(str))
    return pictures if named & set(pictures.names()) else None


def holds_tables(folder: Path) -> bool:
    """Whether any table of ours is in the folder."""
    return any(find_table(folder, table) for table in TABLES)


def read_file(path: Path, mapping: Mapping[str, str], *, progress: Callable[[float], None]) -> Raw:
    """One file of interactions, or of nudges where it has their columns."""
    frame = apply_mapping(read_table(path, progress=progress), mapping)
    own = set(NUDGES) - set(INTERACTIONS)
    return Raw(tables={"nudges" if own <= set(frame.columns) else "interactions": frame})


def _with_tags(products: pd.DataFrame) -> pd.DataFrame:
    """A CSV has no lists: a text column whose name ends in `_tags` holds them as `one|two`."""
    named = [column for column in products.columns if str(column).endswith(TAGS_SUFFIX)]
    texts = [column for column in named if not holds_lists(products[column])]
    return products.assign(**{c: products[c].str.split("|").astype(object) for c in texts})


def apply_mapping(frame: pd.DataFrame, mapping: Mapping[str, str]) -> pd.DataFrame:
    """Rename `theirs` to ours; `:value` makes a constant column. `event` defaults to purchase."""
    frame = frame.copy()
    for ours in mapping:
        if ours not in _MAPPABLE and not ours.startswith("context_"):
            near = difflib.get_close_matches(ours, _MAPPABLE, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"ours are {', '.join(_MAPPABLE)}"
            raise DataQualityError(f"--map {ours}=…: no column of ours; {hint}")
    for ours, theirs in mapping.items():
        if theirs.startswith(":"):
            frame[ours] = theirs[1:]
        elif theirs in frame.columns:
            frame = frame.drop(columns=[ours], errors="ignore").rename(columns={theirs: ours})
        else:
            near = difflib.get_close_matches(theirs, [str(c) for c in frame.columns], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(frame.columns)}"
            raise DataQualityError(f"--map {ours}={theirs}: no column {theirs!r}; {hint}")
    if "event" not in frame.columns and set(INTERACTIONS) - {"event"} <= set(frame.columns):
        frame["event"] = "purchase"
    return frame
