"""A local stage without some of the corrections of the emulator."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.local import cloud
from pipelines.stage import Stage, open_stage


@contextmanager
def stage_without(root: Path, *corrections: Callable[..., object]) -> Iterator[Stage]:
    """A local stage in `root` that does as the emulator does where these would correct it."""
    os.environ["NEXTBEST_WITHOUT_CORRECTIONS"] = ",".join(one.__name__ for one in corrections)
    try:
        stage = open_stage("local", root=root)
    finally:
        del os.environ["NEXTBEST_WITHOUT_CORRECTIONS"]
    try:
        yield stage
    finally:
        cloud.down(root)
