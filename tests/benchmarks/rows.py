"""The rows that every benchmark writes with `--json`."""

from __future__ import annotations

import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec


@dataclass(frozen=True)
class Row:
    """One line of a table. CPU seconds of this process; peak memory since it began."""

    benchmark: str
    set: str
    model: str
    metrics: dict[str, float]
    cpu_seconds: float
    peak_mb: float


def peak_mb() -> float:
    """The most resident memory that this process has had, in MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON; numpy's numbers as plain ones."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(rows, enc_hook=float)))
