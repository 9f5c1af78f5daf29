"""Which pictures an epoch shows: what the network tells easily is shown less often, and then counts
for more, so that what is learned from stays the same in the mean.

Source: Qin et al. 2024, "InfoBatch: Lossless Training Speed Up by Unbiased Dynamic Data Pruning".
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, distributed

_WHOLE_AT_THE_END = 0.125  # of the epochs: what was seldom shown is shown last


class Pruning:
    """Remembers each picture's loss when it was last shown: `losses` float32 (pictures,), nan
    before that. An epoch leaves out the share `share` of those below the mean."""

    def __init__(self, pictures: int, *, share: float, epochs: int) -> None:
        self.losses = torch.full((pictures,), torch.nan)
        self._share = share
        self._pruned = range(1, epochs - max(1, round(_WHOLE_AT_THE_END * epochs)))
        self._told = torch.full((pictures,), torch.nan)

    def shown(
        self, rows: np.ndarray, epoch: int, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Those of `rows` that are shown, and what each counts: float32, 1 or more."""
        weights = np.ones(len(rows), dtype=np.float32)
        if self._share == 0 or epoch not in self._pruned:
            return rows, weights
        losses = self.losses.numpy()[rows]
        easy = losses < np.nanmean(losses)
        weights[easy] = 1 / (1 - self._share)
        kept = ~easy | (generator.random(len(rows)) >= self._share)
        return rows[kept], weights[kept]

    def note(self, rows: np.ndarray, losses: Tensor) -> None:
        """What `rows` came to, just now."""
        self._told[rows] = losses.detach().float().cpu()

    def end_epoch(self, *, device: torch.device) -> None:
        """Take over what was noted, by all processes; each showed rows of its own."""
        told = self._told.nan_to_num(0.0).to(device)
        known = (~self._told.isnan()).float().to(device)
        if distributed.is_initialized():
            distributed.all_reduce(told)
            distributed.all_reduce(known)
        self.losses = torch.where(known.cpu() > 0, told.cpu(), self.losses)
        self._told.fill_(torch.nan)
