"""Tables in files: Parquet and CSV, plain or compressed, with progress and readable errors."""

from __future__ import annotations

import io
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from training.errors import DataQualityError

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".csv.xz", ".csv.bz2")
_COMPRESSIONS: dict[str, Any] = {".gz": "gzip", ".xz": "xz", ".bz2": "bz2"}


def find_table(folder: Path, table: str) -> Path | None:
    """The file of a table in a folder, whatever its suffix; None where there is none."""
    found = [path for suffix in SUFFIXES if (path := folder / f"{table}{suffix}").exists()]
    return found[0] if found else None


class _WatchedFile(io.RawIOBase):
    """A file that tells `progress` which share of its bytes has been read."""

    def __init__(self, path: Path, progress: Callable[[float], None]) -> None:
        self._file, self._progress = path.open("rb", buffering=0), progress
        self._done, self._size = 0, max(path.stat().st_size, 1)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self._done += count
        self._progress(self._done / self._size)
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _ignore(share: float) -> None:
    """Nobody wants to know."""


def read_table(path: Path, *, progress: Callable[[float], None] = _ignore) -> pd.DataFrame:
    """A Parquet or CSV file (plain, gz, xz, bz2); CSV columns are strings, as they stand.

    `progress` is told the share read so far. Raises `DataQualityError` for a file that is empty,
    truncated, or not what its name says.
    """
    if path.name.endswith((".json", ".jsonl", ".xlsx", ".zip", ".txt", ".tsv")):
        raise DataQualityError(f"{path.name}: not a format we read; expected {', '.join(SUFFIXES)}")
    try:
        frame = pd.read_parquet(path) if path.suffix == ".parquet" else _read_csv(path, progress)
    except pd.errors.EmptyDataError as error:
        raise DataQualityError(f"{path.name}: the file is empty") from error
    except (EOFError, lzma.LZMAError, zlib.error, OSError, pa.ArrowInvalid) as error:
        raise DataQualityError(f"{path.name}: broken or truncated file: {error}") from error
    except UnicodeDecodeError as error:
        raise DataQualityError(
            f"{path.name}: not UTF-8 at byte {error.start}; save it as UTF-8"
        ) from error
    except pd.errors.ParserError as error:
        raise DataQualityError(f"{path.name}: not a table: {error}") from error
    if len(frame) == 0:
        raise DataQualityError(f"{path.name}: a header and no rows")
    if path.suffix != ".parquet" and not isinstance(frame.index, pd.RangeIndex):
        # pandas takes surplus leading fields for an index: every column would be another's.
        raise DataQualityError(f"{path.name}: the rows have more fields than the header")
    return frame


def _read_csv(path: Path, progress: Callable[[float], None]) -> pd.DataFrame:
    with io.BufferedReader(_WatchedFile(path, progress), 1 << 16) as file:
        return pd.read_csv(
            file,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            compression=_COMPRESSIONS.get(path.suffix),
        )
