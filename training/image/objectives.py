"""What training minimises: the labels' cross-entropy; without labels, how unlike two views are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_TEMPERATURE = 0.2


def label_loss(logits: list[Tensor], labels: Tensor, *, smoothing: float) -> Tensor:
    """Mean cross-entropy over the heads; `labels` (n, heads), -1 counts for nothing."""
    losses = [
        functional.cross_entropy(
            head.float(),
            labels[:, number].clamp_min(0),
            label_smoothing=smoothing,
            reduction="none",
        )
        for number, head in enumerate(logits)
    ]
    known = (labels >= 0).float()
    per_head = (torch.stack(losses, dim=1) * known).sum(0) / known.sum(0).clamp_min(1)
    return per_head.mean()


def view_loss(first: Tensor, second: Tensor) -> Tensor:
    """NT-Xent of two views' embeddings (n, d): each shall find the other among 2n - 2 strangers.

    Source: Chen et al. 2020, "A Simple Framework for Contrastive Learning".
    """
    views = functional.normalize(torch.cat((first, second)).float())
    likeness = (views @ views.T) / _TEMPERATURE
    likeness.fill_diagonal_(-torch.inf)
    n = len(first)
    partner = torch.arange(2 * n, device=views.device).roll(n)
    return functional.cross_entropy(likeness, partner)
