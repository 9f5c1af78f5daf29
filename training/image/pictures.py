"""Where pictures come from: a folder, a tar, or one array of pixels (as IDX files hold them).

A reader is shared by threads; none keeps more than one picture in memory.
"""

from __future__ import annotations

import gzip
import os
import struct
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from training.errors import DataQualityError

ARCHIVE, PIXELS = "images.tar", "images.npy"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".ppm")
_IDX_MAGIC = (0, 0, 0x08)  # two zeros, then the type: unsigned bytes


class Pictures(Protocol):
    """Encoded pictures by name."""

    def names(self) -> list[str]:
        """All names, sorted."""
        ...

    def read(self, name: str) -> bytes:
        """The file's bytes; `KeyError` when there is none of that name."""
        ...


@dataclass(frozen=True)
class FolderPictures:
    """Files under a folder; a name is a path within it, and never leads out of it."""

    root: Path

    def names(self) -> list[str]:
        found = (p for p in self.root.rglob("*") if p.is_file() and is_picture(p.name))
        return sorted(p.relative_to(self.root).as_posix() for p in found)

    def read(self, name: str) -> bytes:
        path = self.root / name
        inside = path.resolve().is_relative_to(self.root.resolve())
        if not inside or not path.is_file():
            raise KeyError(name)
        return path.read_bytes()


class TarPictures:
    """An uncompressed tar, read at the places of its members."""

    def __init__(self, path: Path) -> None:
        try:
            with tarfile.open(path, "r:") as tar:
                files = [member for member in tar if member.isfile()]
        except tarfile.TarError as error:
            raise DataQualityError(f"{path.name}: no tar that can be read: {error}") from error
        self._places = {
            member.name.removeprefix("./"): (member.offset_data, member.size) for member in files
        }
        self._file = path.open("rb")

    def names(self) -> list[str]:
        return sorted(name for name in self._places if is_picture(name))

    def read(self, name: str) -> bytes:
        offset, size = self._places[name.removeprefix("./")]
        return os.pread(self._file.fileno(), size, offset)

    def close(self) -> None:
        self._file.close()


def is_picture(name: str) -> bool:
    """Whether a file is one of pictures, by its name; hidden ones (`._x.jpg`) are not."""
    last = name.rpartition("/")[2]
    return last.lower().endswith(SUFFIXES) and not last.startswith(".")


def read_idx(path: Path) -> np.ndarray:
    """An IDX file of unsigned bytes, plain or gz. Raises `DataQualityError`.

    Source: yann.lecun.com/exdb/mnist, "the IDX file format".
    """
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            content = file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise DataQualityError(f"{path.name}: broken or truncated file: {error}") from error
    if len(content) < 8 or tuple(content[:3]) != _IDX_MAGIC or not 1 <= content[3] <= 4:
        raise DataQualityError(f"{path.name}: no IDX file of unsigned bytes")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataQualityError(f"{path.name}: the IDX header is cut off")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != int(np.prod(shape, dtype=np.int64)):
        raise DataQualityError(
            f"{path.name}: {len(content) - start:,} bytes follow a header that says {shape}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)
