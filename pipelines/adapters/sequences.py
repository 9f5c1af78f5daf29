"""`user item item …` lines, as the literature's data sets are published; no times, only order.

An `attributes.json` (item → list of attributes, plain or xz) beside the file becomes the products.
"""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import pandas as pd

from pipelines.adapters.raw import Raw
from training.errors import DataQualityError

_EPOCH = pd.Timestamp("2000-01-01", tz="UTC")


def detects(path: Path, header: list[str]) -> bool:
    return path.name.endswith((".txt", ".txt.xz", ".txt.gz"))


def read(path: Path) -> Raw:
    """Interactions with artificial times one second apart; `ordered_by` says `position`."""
    users: list[str] = []
    items: list[str] = []
    steps: list[int] = []
    for number, line in enumerate(_lines(path), start=1):
        user, *taken = line.split()
        if len(taken) == 0:
            continue
        if "," in line:
            raise DataQualityError(
                f"{path.name}: line {number}: a comma in {line[:40]!r}; expected "
                "'user item item …' divided by spaces"
            )
        users += [user] * len(taken)
        items += taken
        steps += range(len(taken))
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
    """A text file, plain or xz. Raises `DataQualityError` when broken."""
    try:
        if path.suffix == ".xz":
            with lzma.open(path, "rt", encoding="utf-8") as file:
                return file.read()
        return path.read_text(encoding="utf-8")
    except (EOFError, lzma.LZMAError) as error:
        raise DataQualityError(f"{path.name}: broken or truncated file: {error}") from error
    except UnicodeDecodeError as error:
        raise DataQualityError(f"{path.name}: not UTF-8 at byte {error.start}") from error


def _products(folder: Path, frame: pd.DataFrame) -> pd.DataFrame | None:
    found = [
        p for name in ("attributes.json", "attributes.json.xz") if (p := folder / name).exists()
    ]
    if not found:
        return None
    attributes = json.loads(read_text(found[0]))
    ids = sorted(frame["product_id"].unique())
    tags = [" ".join(str(tag) for tag in attributes.get(product, [])) for product in ids]
    return pd.DataFrame({"product_id": ids, "tags": tags})
