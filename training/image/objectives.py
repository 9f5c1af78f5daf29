"""What training minimises: the labels' cross-entropy and how unlike pictures of one label are;
without labels, how unlike two views of one picture are."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_VIEW_TEMPERATURE = 0.2
_LABEL_TEMPERATURE = 0.1


def label_losses(logits: list[Tensor], labels: Tensor, *, smoothing: float) -> Tensor:
    """Cross-entropy of each picture by each head: (n, heads), 0 where the label, -1, is unknown."""
    losses = [
        functional.cross_entropy(
            head.float(),
            labels[:, number],
            label_smoothing=smoothing,
            reduction="none",
            ignore_index=-1,
        )
        for number, head in enumerate(logits)
    ]
    return torch.stack(losses, dim=1)


def mean_loss(losses: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The mean over the heads of each one's mean over the pictures whose label is known; `losses`
    and `labels` (n, heads), `weights` (n,)."""
    known = (labels >= 0).sum(0).clamp_min(1)
    return ((losses * weights[:, None]).sum(0) / known).mean()


def likeness_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    """How ill embeddings (n, d) find those of the same label among all others; the mean over heads
    of `labels` (n, heads).

    Source: Khosla et al. 2020, "Supervised Contrastive Learning".
    """
    own = torch.eye(len(embeddings), dtype=torch.bool, device=embeddings.device)
    found = _likeness(embeddings, _LABEL_TEMPERATURE).log_softmax(dim=1).masked_fill(own, 0.0)
    same = (labels[:, None] == labels[None]) & (labels >= 0)[:, None] & ~own[:, :, None]
    wanted = same.float() / same.sum(1, keepdim=True).clamp_min(1)
    per_head = -(found[:, :, None] * wanted).sum(1)
    return per_head.sum(0).div(same.any(1).sum(0).clamp_min(1)).mean()


def view_loss(first: Tensor, second: Tensor) -> Tensor:
    """NT-Xent of two views' embeddings (n, d): each shall find the other among 2n - 2 strangers.

    Source: Chen et al. 2020, "A Simple Framework for Contrastive Learning".
    """
    likeness = _likeness(torch.cat((first, second)), _VIEW_TEMPERATURE)
    n = len(first)
    partner = torch.arange(2 * n, device=likeness.device).roll(n)
    return functional.cross_entropy(likeness, partner)


def _likeness(embeddings: Tensor, temperature: float) -> Tensor:
    """Cosines (n, n) over the temperature; none with oneself."""
    units = functional.normalize(embeddings.float())
    return (units @ units.T / temperature).fill_diagonal_(-torch.inf)
