"""Many pictures at once: files → one memory-mapped array of pixels, and what had to be set aside.

Pillow and zlib release the interpreter while they decode, so threads use every core and nothing
has to be copied between processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from inference.images import DecodedImage, UnreadableImageError, decode
from training.image.pictures import Pictures

_SUFFIX_OF = {
    "JPEG": (".jpg", ".jpeg"),
    "MPO": (".jpg", ".jpeg"),
    "PNG": (".png",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm",),
}
MISLABELLED = "named as another format"
_AHEAD = 1024  # decoded pictures that may wait for their turn


@dataclass
class Report:
    """`set_aside`: row → reason; `noted`: row → what was made of it. Rows are of the products."""

    set_aside: dict[int, str] = field(default_factory=dict)
    noted: dict[int, str] = field(default_factory=dict)

    def counts(self) -> dict[str, dict[str, int]]:
        """How many of each, most first."""
        return {
            "set_aside": dict(Counter(self.set_aside.values()).most_common()),
            "noted": dict(Counter(self.noted.values()).most_common()),
        }


def decode_all(
    pictures: Pictures,
    names: Sequence[str],
    target: Path,
    *,
    size: int,
    channels: int,
    maximum_pixels: int,
    workers: int,
    progress: Callable[[int], None],
) -> Report:
    """Write uint8 (len(names), size, size, channels) to `target`, in order of `names`.

    A picture that cannot be read leaves its row black and stands in the report.
    """
    shape = (len(names), size, size, channels)
    array = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    report = Report()
    one = partial(_one, pictures, size=size, channels=channels, maximum_pixels=maximum_pixels)
    with ThreadPoolExecutor(workers) as pool:
        for start in range(0, len(names), _AHEAD):
            for row, found in enumerate(pool.map(one, names[start : start + _AHEAD]), start):
                _keep(array, row, found, names[row], report)
            progress(min(start + _AHEAD, len(names)))
    array.flush()
    return report


def _one(
    pictures: Pictures, name: str, *, size: int, channels: int, maximum_pixels: int
) -> DecodedImage | str:
    """The picture, or the reason why there is none."""
    try:
        return decode(
            pictures.read(name), size=size, channels=channels, maximum_pixels=maximum_pixels
        )
    except KeyError:
        return "no such file"
    except UnreadableImageError as error:
        return error.reason


def _keep(
    array: np.ndarray, row: int, found: DecodedImage | str, name: str, report: Report
) -> None:
    if isinstance(found, str):
        report.set_aside[row] = found
        return
    array[row] = found.pixels
    notes = list(found.notes)
    if not name.lower().endswith(_SUFFIX_OF.get(found.format, ("",))):
        notes.append(MISLABELLED)
    if notes:
        report.noted[row] = ", ".join(notes)


def resize_all(pixels: np.ndarray, target: Path, *, size: int, channels: int) -> None:
    """The same of pixels: uint8 (n, h, w) or (n, h, w, c), scaled where they differ."""
    from PIL import Image

    shape = (len(pixels), size, size, channels)
    array = np.lib.format.open_memmap(target, mode="w+", dtype=np.uint8, shape=shape)
    if pixels.shape[1:3] == (size, size):
        array[:] = pixels.reshape(shape)
        return
    for row, one in enumerate(pixels):
        flat = np.asarray(one).squeeze()
        small = Image.fromarray(flat).resize((size, size), Image.Resampling.BILINEAR)
        array[row] = np.asarray(small).reshape(size, size, channels)
