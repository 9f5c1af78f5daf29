"""Random changes to a batch that leave what a picture shows: mirrored, moved, zoomed, otherwise
lit, a part erased. Tensors in, tensors out, on whatever device; all randomness from one generator.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_SHIFT = 14  # a picture moves by up to a 14th of its side
_ZOOMED_FROM = 48  # smaller pictures would only get blurred
_ZOOM = 0.25
_LIGHT = 0.3
_LEAST_ERASED, _MOST_ERASED = 0.1, 0.5


@dataclass(frozen=True)
class Augmentation:
    """Applied to normalised float (n, c, size, size). `fill` is black, normalised, (c,)."""

    fill: Tensor
    erasing: float

    def __call__(
        self, x: Tensor, generator: torch.Generator, *, mirror: Tensor | None = None
    ) -> Tensor:
        """`mirror` bool (n,): which are mirrored; None draws them."""
        if mirror is None:
            mirror = _uniform((len(x),), generator, x) < 0.5
        x = torch.where(mirror[:, None, None, None], x.flip(3), x)
        x = _zoomed(x, generator) if x.shape[-1] >= _ZOOMED_FROM else self._moved(x, generator)
        if x.shape[1] == 3:
            x = _lit(x, generator)
        return self._erased(x, generator) if self.erasing else x

    def _moved(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Moved by whole pixels, black coming in at the border."""
        n, channels, size, _ = x.shape
        most = max(1, size // _SHIFT)
        fill = self.fill.view(1, channels, 1, 1)
        padded = functional.pad(x - fill, (most,) * 4) + fill
        offsets = _integers(2 * most + 1, (2, n, 1), generator, x)
        rows, columns = (offsets + torch.arange(size, device=x.device)).unbind(0)
        pick = torch.arange(n, device=x.device)[:, None, None]
        return padded[pick, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    def _erased(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """A rectangle of noise in a share `erasing` of the pictures; Zhong et al. 2017."""
        n, _, size, _ = x.shape
        low, high = int(_LEAST_ERASED * size) + 1, int(_MOST_ERASED * size)
        extent = low + _integers(high - low + 1, (2, n, 1), generator, x)
        start = (_uniform((2, n, 1), generator, x) * (size - extent + 1)).long()
        place = torch.arange(size, device=x.device)
        inside = (place >= start) & (place < start + extent)
        chosen = _uniform((n, 1, 1), generator, x) < self.erasing
        mask = inside[0][:, :, None] & inside[1][:, None, :] & chosen
        noise = torch.randn(x.shape, generator=generator, device=x.device)
        return torch.where(mask[:, None], noise, x)


def _zoomed(x: Tensor, generator: torch.Generator) -> Tensor:
    """Zoomed and moved, the border's pixels continued."""
    n = len(x)
    zoom = 1 + _ZOOM * (2 * _uniform((n, 2), generator, x) - 1)
    move = (2 / _SHIFT) * (2 * _uniform((n, 2), generator, x) - 1)
    matrices = torch.zeros((n, 2, 3), device=x.device)
    matrices[:, 0, 0], matrices[:, 1, 1], matrices[:, :, 2] = zoom[:, 0], zoom[:, 1], move
    grid = functional.affine_grid(matrices, list(x.shape), align_corners=False)
    return functional.grid_sample(x, grid, padding_mode="border", align_corners=False)


def _lit(x: Tensor, generator: torch.Generator) -> Tensor:
    """Contrast, and brightness of each colour."""
    contrast = 1 + _LIGHT * (2 * _uniform((len(x), 1, 1, 1), generator, x) - 1)
    brightness = _LIGHT * (2 * _uniform((len(x), x.shape[1], 1, 1), generator, x) - 1)
    return x * contrast + brightness


def _uniform(shape: tuple[int, ...], generator: torch.Generator, like: Tensor) -> Tensor:
    return torch.rand(shape, generator=generator, device=like.device)


def _integers(
    below: int, shape: tuple[int, ...], generator: torch.Generator, like: Tensor
) -> Tensor:
    return torch.randint(0, max(1, below), shape, generator=generator, device=like.device)
