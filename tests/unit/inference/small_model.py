"""A model of six products whose right answers are known by construction, for the tests here."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from inference import artifact
from inference.artifact import Artifact
from inference.neighbours import neighbour_arrays
from inference.recommender import KIND, Recommender

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PRODUCTS = ["apple", "bread", "cheese", "dates", "eggs", "flour"]
COLOURS = ["brown", "red", "true"]
COLOUR_CODES = [1, 0, -1, 0, 2, -1]
PRICES = [1.0, 2.0, 5.0, float("nan"), 2.0, 0.5]
TREND = [0.2, 1.0, 0.0, 0.6, 0.4, 0.1]
MATRIX = [
    [0.0, 0.9, 0.5, 0.0, 0.0, 0.0],
    [0.8, 0.0, 0.7, 0.1, 0.0, 0.0],
    [0.0, 0.6, 0.0, 0.0, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0, 1.0, 0.3],
    [0.0, 0.0, 0.0, 0.4, 0.0, 0.0],
    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
]
SERVING = {"repeat_weight": 0.5, "trend_weight": 0.1, "decay": 0.5}


def contents(
    matrix: Any = MATRIX, trend: Any = TREND, serving: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What `artifact.write` takes, of a dense matrix."""
    dense = np.asarray(matrix, dtype=np.float32)
    rows, columns = np.nonzero(dense)
    prior = np.asarray(trend, dtype=np.float32)
    counts = np.bincount(rows, minlength=len(dense))
    return {
        "manifest": {"kind": KIND, "serving": SERVING if serving is None else serving},
        "arrays": {
            **neighbour_arrays(
                np.concatenate(([0], np.cumsum(counts))),
                columns,
                dense[rows, columns],
                width=len(dense),
            ),
            "trend": prior,
            "trend_order": np.argsort(-prior, kind="stable").astype(np.int32),
            "attribute_0": np.array(COLOUR_CODES, dtype=np.int32),
            "attribute_1": np.array(PRICES),
        },
        "tables": {
            "product_ids": PRODUCTS,
            "titles": [name.title() for name in PRODUCTS],
            "attributes": {
                "colour": {"type": "category", "array": "attribute_0", "values": COLOURS},
                "price": {"type": "number", "array": "attribute_1"},
            },
        },
    }


def recommender(**changes: Any) -> Recommender:
    """The model in memory."""
    return Recommender(Artifact(**contents(**changes)))


def write(folder: Path) -> Path:
    """The model on disk."""
    artifact.write(folder, **contents())
    return folder
