"""The simulated shop's pictures: what a product is, what it is made of, and how it looks.

The thing gives the outline, the style the material's colour, and the look (three numbers that no
column of the catalogue tells, and that drive taste) the light, the pattern and the tint. Needs
Pillow, which the extra `image` brings. Deterministic: each picture is drawn from its own seed.
"""

from __future__ import annotations

import colorsys
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

SIZE = 56
LOOKS = ("light", "pattern", "tint")
# Hue, saturation and value of each style's material.
MATERIALS = {
    "Walnut": (0.07, 0.60, 0.45),
    "Linen": (0.11, 0.22, 0.82),
    "Copper": (0.05, 0.75, 0.75),
    "Nordic": (0.57, 0.18, 0.88),
    "Rattan": (0.12, 0.50, 0.70),
    "Velvet": (0.78, 0.55, 0.50),
}
_NOISE = 7.0
Box = tuple[float, float, float, float]
Outline = Callable[["ImageDraw", Box], None]


def can_draw() -> bool:
    """Whether Pillow is installed."""
    return importlib.util.find_spec("PIL") is not None


def draw_picture(thing: str, style: str, look: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (SIZE, SIZE, 3) of one product. `look` (3,) as in `LOOKS`, about standard normal.

    Raises `KeyError` for a thing or a style that the shop does not have.
    """
    from PIL import Image, ImageDraw

    light, pattern, tint = np.tanh(np.asarray(look) / 1.5)
    mask = Image.new("L", (SIZE, SIZE), 0)
    OUTLINES[thing](ImageDraw.Draw(mask), _box(rng))
    inside = np.asarray(mask, dtype=np.float64)[:, :, None] / 255.0
    surface = _material(style, light, tint) * _texture(pattern, rng)[:, :, None]
    background = np.full(3, 228.0 + rng.normal(0, 6))
    noise = rng.normal(0, _NOISE, (SIZE, SIZE, 3))
    pixels = inside * surface + (1.0 - inside) * background + noise
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _box(rng: np.random.Generator) -> Box:
    """Where the thing stands: never quite in the middle, never quite as large."""
    width = SIZE * rng.uniform(0.66, 0.82)
    left, top = (SIZE - width) * rng.uniform(0.2, 0.8, size=2)
    return left, top, left + width, top + width


def _material(style: str, light: float, tint: float) -> np.ndarray:
    """The colour (3,) of the surface: the style's, lighter or darker, warmer or colder."""
    hue, saturation, value = MATERIALS[style]
    shade = np.clip(value * (1.0 + 0.35 * light), 0.15, 1.0)
    colour = colorsys.hsv_to_rgb((hue + 0.12 * tint) % 1.0, saturation, float(shade))
    return 255.0 * np.array(colour)


def _texture(pattern: float, rng: np.random.Generator) -> np.ndarray:
    """What the surface's brightness is multiplied by (SIZE, SIZE): from plain to busy stripes."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    turns = 3.0 + 4.0 * (1.0 + pattern)
    depth = 0.28 * (1.0 + pattern) / 2.0
    phase = rng.uniform(0, 2 * np.pi)
    return np.asarray(1.0 - depth * (1.0 + np.sin(2 * np.pi * turns * (x + 0.6 * y) + phase)))


def _scaled(box: Box, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of the unit square in a box."""
    left, top, right, bottom = box
    return [(left + x * (right - left), top + y * (bottom - top)) for x, y in points]


def _shape(*polygons: Sequence[tuple[float, float]]) -> Outline:
    def outline(draw: ImageDraw, box: Box) -> None:
        for polygon in polygons:
            draw.polygon(_scaled(box, polygon), fill=255)

    return outline


def _ellipses(*boxes: Box) -> Outline:
    def outline(draw: ImageDraw, box: Box) -> None:
        for x0, y0, x1, y1 in boxes:
            first, second = _scaled(box, [(x0, y0), (x1, y1)])
            draw.ellipse([first, second], fill=255)

    return outline


def _both(*outlines: Outline) -> Outline:
    def outline(draw: ImageDraw, box: Box) -> None:
        for part in outlines:
            part(draw, box)

    return outline


def _slab(x0: float, y0: float, x1: float, y1: float) -> list[tuple[float, float]]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


_SHADE = [(0.3, 0.0), (0.7, 0.0), (0.95, 0.4), (0.05, 0.4)]
_BAG = [(0.2, 0.15), (0.8, 0.15), (0.9, 1.0), (0.1, 1.0)]
_BULB = _both(_ellipses((0.15, 0.0, 0.85, 0.7)), _shape(_slab(0.35, 0.62, 0.65, 1.0)))
OUTLINES: dict[str, Outline] = {
    "desk lamp": _shape(_SHADE, _slab(0.45, 0.4, 0.55, 0.85), _slab(0.25, 0.85, 0.75, 1.0)),
    "floor lamp": _shape(
        [(0.35, 0.0), (0.65, 0.0), (0.8, 0.22), (0.2, 0.22)],
        _slab(0.46, 0.2, 0.54, 0.93),
        _slab(0.3, 0.93, 0.7, 1.0),
    ),
    "pendant": _shape(
        _slab(0.47, 0.0, 0.53, 0.4), [(0.35, 0.35), (0.65, 0.35), (1.0, 0.85), (0.0, 0.85)]
    ),
    "wall light": _both(_shape(_slab(0.0, 0.2, 0.15, 0.9)), _ellipses((0.15, 0.25, 0.95, 0.85))),
    "warm bulb": _BULB,
    "filament bulb": _both(_ellipses((0.25, 0.0, 0.75, 0.8)), _shape(_slab(0.4, 0.75, 0.6, 1.0))),
    "smart bulb": _both(
        _ellipses((0.2, 0.0, 0.8, 0.5)), _shape([(0.2, 0.25), (0.8, 0.25), (0.6, 1.0), (0.4, 1.0)])
    ),
    "cushion": _shape(
        [
            (0.0, 0.0),
            (0.5, 0.1),
            (1.0, 0.0),
            (0.9, 0.5),
            (1.0, 1.0),
            (0.5, 0.9),
            (0.0, 1.0),
            (0.1, 0.5),
        ]
    ),
    "throw": _shape([(0.0, 0.1), (0.8, 0.0), (1.0, 0.9), (0.2, 1.0)]),
    "curtain": _shape(_slab(0.0, 0.0, 0.4, 1.0), _slab(0.6, 0.0, 1.0, 1.0)),
    "rug": _shape(_slab(0.0, 0.3, 1.0, 0.75)),
    "mug": _both(_shape(_slab(0.1, 0.15, 0.7, 0.95)), _ellipses((0.6, 0.3, 1.0, 0.75))),
    "bowl": _shape([(0.0, 0.35), (1.0, 0.35), (0.7, 0.9), (0.3, 0.9)]),
    "chopping board": _both(
        _shape(_slab(0.15, 0.25, 0.85, 1.0)), _ellipses((0.38, 0.0, 0.62, 0.3))
    ),
    "carafe": _shape(
        [(0.35, 0.0), (0.65, 0.0), (0.6, 0.35), (0.95, 1.0), (0.05, 1.0), (0.4, 0.35)]
    ),
    "espresso beans": _ellipses(
        (0.0, 0.1, 0.5, 0.55), (0.45, 0.0, 0.95, 0.45), (0.2, 0.5, 0.8, 1.0)
    ),
    "filter coffee": _shape(_BAG),
    "decaf beans": _both(_shape(_BAG), _ellipses((0.3, 0.0, 0.7, 0.3))),
    "scented candle": _shape(_slab(0.2, 0.35, 0.8, 1.0), [(0.5, 0.05), (0.58, 0.35), (0.42, 0.35)]),
    "pillar candle": _shape(_slab(0.32, 0.2, 0.68, 1.0), [(0.5, 0.0), (0.55, 0.2), (0.45, 0.2)]),
    "tealights": _ellipses((0.0, 0.5, 0.45, 0.8), (0.5, 0.5, 1.0, 0.8), (0.25, 0.2, 0.75, 0.5)),
}


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """As PNG; `path`'s folder is made if absent."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, format="PNG")
