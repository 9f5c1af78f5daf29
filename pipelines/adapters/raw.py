"""What every adapter gives: raw tables for `training.datasets.build_dataset`, and what it did."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Raw:
    """Unchecked tables by name. `set_aside` has a column `reason`; `notes` say what was done."""

    tables: dict[str, pd.DataFrame]
    ordered_by: str = "timestamp"
    notes: tuple[str, ...] = ()
    set_aside: pd.DataFrame | None = None
