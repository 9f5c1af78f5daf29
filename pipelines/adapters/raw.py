"""What every adapter gives: raw tables for `training` to check, and what was done to them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from inference.guardrail_rules import GuardrailRules
from training.image.pictures import Pictures


@dataclass(frozen=True)
class Raw:
    """Unchecked tables by name: `interactions` with its kin, `nudges` with `actions`, or both.

    `pictures`, or `pixels` uint8 (n, h, w), belong to the `image` of `products`. `set_aside` has a
    column `reason`; `notes` say what was done."""

    tables: dict[str, pd.DataFrame]
    ordered_by: str = "timestamp"
    notes: tuple[str, ...] = ()
    set_aside: pd.DataFrame | None = None
    guardrails: GuardrailRules | None = None
    pictures: Pictures | None = None
    pixels: np.ndarray | None = None
