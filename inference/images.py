"""Pictures as bytes → pixels as the image model takes them. Pillow and numpy only.

One piece of code for training (`training/image/decoding.py`) and for the Lambda, so that a picture
is the same to both. The size in pixels is read from the header and bounded before anything is
decoded.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from inference.errors import NextbestError

MAXIMUM_PIXELS = 50_000_000
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")  # an MPO is opened as a JPEG
_DEEP = ("I", "I;16", "I;16L", "I;16B", "F")
_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


class UnreadableImageError(NextbestError):
    """Bytes that are no picture we can use; `reason` is one of a few words to count by."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class DecodedImage:
    """`pixels` uint8 (size, size, channels); `format` as Pillow names it; `notes` on what had to be
    made of it (`16-bit`, `CMYK`, `animated`, `transparent`)."""

    pixels: np.ndarray
    format: str
    notes: tuple[str, ...] = ()


def decode(
    data: bytes, *, size: int, channels: int, maximum_pixels: int = MAXIMUM_PIXELS
) -> DecodedImage:
    """The picture turned upright, on white where it is transparent, scaled to a square.

    `channels` is 1 (grey) or 3 (RGB); of an animation it is the first frame. Raises
    `UnreadableImageError`: `empty`, `not an image`, `too many pixels` or `broken`.
    """
    image = _opened(data, maximum_pixels)
    notes = _notes(image)
    form = str(image.format)
    try:
        image.draft(None, (2 * size, 2 * size))
        upright = ImageOps.exif_transpose(_eight_bit(image))
        flat = _on_white(upright).convert("L" if channels == 1 else "RGB")
        small = flat.resize((size, size), Image.Resampling.BILINEAR, reducing_gap=3.0)
    except _BOMB as error:
        raise _too_large(maximum_pixels) from error
    except _BROKEN as error:
        raise UnreadableImageError("broken", f"the {form} file is broken: {error}") from error
    pixels = np.asarray(small, dtype=np.uint8).reshape(size, size, channels)
    return DecodedImage(pixels, form, notes)


def header(data: bytes) -> tuple[int, int]:
    """Longer side in pixels and channels (1 or 3) of a picture, without decoding it.

    Raises `UnreadableImageError` like `decode`.
    """
    image = _opened(data, MAXIMUM_PIXELS)
    return max(image.size), 1 if image.mode in ("1", "L", "LA", "La", *_DEEP) else 3


def _opened(data: bytes, maximum_pixels: int) -> Image.Image:
    if not data:
        raise UnreadableImageError("empty", "the file is empty")
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except _BOMB as error:
        # Pillow looks before it tells the size; its bounds are above any of ours.
        raise _too_large(maximum_pixels) from error
    except _BROKEN as error:
        raise UnreadableImageError(
            "not an image", f"not a picture; expected one of {', '.join(FORMATS)}"
        ) from error
    if image.width * image.height > maximum_pixels:
        raise _too_large(maximum_pixels, size=image.size)
    return image


def _too_large(maximum_pixels: int, *, size: tuple[int, int] | None = None) -> UnreadableImageError:
    pixels = f"{size[0]:,} x {size[1]:,}" if size else f"more than {maximum_pixels:,}"
    return UnreadableImageError(
        "too many pixels", f"{pixels} pixels; at most {maximum_pixels:,} are decoded"
    )


def _notes(image: Image.Image) -> tuple[str, ...]:
    found = {
        "16-bit": image.mode in _DEEP,
        "CMYK": image.mode == "CMYK",
        "animated": getattr(image, "n_frames", 1) > 1 and image.format != "MPO",
        "transparent": image.mode in _ALPHA or "transparency" in image.info,
    }
    return tuple(name for name, holds in found.items() if holds)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Deep grey values scaled to 8 bits, where Pillow would cut them off."""
    if image.mode not in _DEEP:
        return image
    values = np.asarray(image).astype(np.float64)
    highest = 65535.0 if image.mode != "F" and values.max(initial=0) > 255 else 255.0
    grey = np.clip(np.nan_to_num(values) * (255.0 / highest), 0, 255).astype(np.uint8)
    scaled = Image.fromarray(grey)
    scaled.info.update({k: v for k, v in image.info.items() if k == "exif"})
    return scaled


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode not in _ALPHA and "transparency" not in image.info:
        return image
    coloured = image.convert("RGBA")
    white = Image.new("RGBA", coloured.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, coloured)
