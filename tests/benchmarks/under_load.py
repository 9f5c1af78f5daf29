"""What the benchmarks of a local stage under load share: a stage of their own, counts told and
written."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from pipelines import stacks
from pipelines.local import cloud
from pipelines.stage import Stage, open_stage
from tests.benchmarks.rows import Row, peak_mb, write_rows


class Audited(Protocol):
    """A dataclass of counts; `wrong` is how many of them should be zero and are not."""

    __dataclass_fields__: dict[str, Any]

    @property
    def wrong(self) -> int: ...


def measure(name: str, run: Callable[[Stage, int], Audited], *, json: Path | None) -> None:
    """Run on a new local stage, given with its process; print the counts, write them as a row.

    Exits with 1 where anything is wrong.
    """
    began = time.process_time()
    with tempfile.TemporaryDirectory(prefix="nextbest-load-") as folder:
        root = Path(folder)
        try:
            stage = open_stage("local", root=root)
            stacks.deploy(stage, progress=lambda line: None)
            counts = run(stage, cloud.up(root).pid)
        finally:
            cloud.down(root)
    for count, value in asdict(counts).items():
        print(f"{count.replace('_', ' '):>18} {value:>8,}")
    if json:
        seconds = round(time.process_time() - began, 1)
        metrics = {count: float(value) for count, value in asdict(counts).items()}
        write_rows(json, [Row(name, "local", "nextbest", metrics, seconds, peak_mb())])
    raise SystemExit(1 if counts.wrong else 0)
