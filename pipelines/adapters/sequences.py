"""`user item item …` lines, as the literature's data sets are published; no times, only order.

What a user's first line begins, a later one goes on with.

An `attributes.json` (item → list of attributes; plain, xz or gz) beside the file becomes the
products, with the attributes as their `tags`.
"""

from __future__ import annotations

import gzip
import json
import lzma
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.adapters.raw import Raw
from training.errors import DataQualityError

_REPORT_LINES = 1000
_OPENERS: dict[str, Callable[..., Any]] = {".xz": lzma.open, ".gz": gzip.open}
_EPOCH = pd.Timestamp("2000-01-01", tz="UTC")


def detects(path: Path, header: list[str]) -> bool:
    return path.name.endswith((".txt", ".txt.xz", ".txt.gz"))


def read(path: Path, *, progress: Callable[[float], None]) -> Raw:
    """Interactions with artificial times one second apart; `ordered_by` says `position`."""
    users: list[str] = []
    items: list[str] = []
    steps: list[int] = []
    before: Counter[str] = Counter()  # items of a user so far
    lines = _lines(path)
    for number, line in enumerate(lines, start=1):
        user, *taken = line.split()
        if number % _REPORT_LINES == 0:
            progress(number / len(lines))
        if len(taken) == 0:
            continue
        if "," in line:
            raise DataQualityError(
                f"{path.name}: line {number}: a comma in {line[:40]!r}; expected "
                "'user item item …' divided by spaces"
            )
        users += [user] * len(taken)
        items += taken
        steps += range(before[user], before[user] + len(taken))
        before[user] += len(taken)
    frame = pd.DataFrame(
        {
            "customer_id": users,
            "product_id": items,
            "event": "purchase",
            "timestamp": _EPOCH + pd.to_timedelta(steps, unit="s"),
        }
    )
    tables = {"interactions": frame}
    products = _products(path.parent, frame)
    if products is not None:
        tables["products"] = products
    note = "the file has no times: its order is all that is known, timestamps are artificial"
    return Raw(tables=tables, ordered_by="position", notes=(note,))


def _lines(path: Path) -> list[str]:
    text = read_text(path)
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataQualityError(f"{path.name}: the file is empty")
    return lines


def read_text(path: Path) -> str:
    """A text file, plain, xz or gz. Raises `DataQualityError` when broken."""
    opener = _OPENERS.get(path.suffix, open)
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            return str(file.read())
    except UnicodeDecodeError as error:
        raise DataQualityError(f"{path.name}: not UTF-8 at byte {error.start}") from error
    except (EOFError, lzma.LZMAError, zlib.error, OSError) as error:
        raise DataQualityError(f"{path.name}: broken or truncated file: {error}") from error


def _products(folder: Path, frame: pd.DataFrame) -> pd.DataFrame | None:
    found = [
        p for suffix in ("", ".xz", ".gz") if (p := folder / f"attributes.json{suffix}").exists()
    ]
    if not found:
        return None
    attributes = read_attributes(found[0])
    ids = sorted(frame["product_id"].unique())
    tags = [[str(tag) for tag in attributes.get(product, [])] for product in ids]
    return pd.DataFrame({"product_id": ids, "tags": pd.Series(tags, dtype=object)})


def read_attributes(path: Path) -> dict[str, list[Any]]:
    """Item → list of attributes. Raises `DataQualityError` for anything else."""
    try:
        attributes = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise DataQualityError(f"{path.name}: not valid JSON: {error}") from error
    lists = isinstance(attributes, dict) and all(isinstance(v, list) for v in attributes.values())
    if not lists:
        raise DataQualityError(f"{path.name}: expected an object of item → list of attributes")
    return dict(attributes)
