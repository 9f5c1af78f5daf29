"""Waiting until what was decided and what came of it is in the archive. Used by the loop."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable
from typing import Any

from pyarrow import parquet as files

from inference.archive import folder_of
from inference.archive_tables import TABLES
from pipelines.errors import RunError
from pipelines.stage import Stage

_POLL_SECONDS = 0.3
_TIMEOUT_SECONDS = 180.0


class Archived:
    """The ids of a tenant's table in the archive; an object is read once."""

    def __init__(self, stage: Stage, tenant: str, table: str) -> None:
        self.table = table
        self._s3: Any = stage.client("s3")
        self._bucket, self._folder = stage.bucket, f"{folder_of(tenant, table)}/"
        self._seen: set[str] = set()
        self._ids: set[str] = set()

    def ids(self) -> set[str]:
        """Those that are there now."""
        identity = TABLES[self.table].identity
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._folder
        )
        keys = {item["Key"] for page in pages for item in page.get("Contents", [])}
        for key in sorted(keys - self._seen):
            body = self._s3.get_object(Bucket=self._bucket, Key=key)["Body"].read()
            rows = files.read_table(io.BytesIO(body), columns=[identity])
            self._ids.update(rows.column(identity).to_pylist())
            self._seen.add(key)
        return self._ids

    def wait_for(
        self,
        wanted: Iterable[str],
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Wait until all are there. Raises `RunError` when nothing new has come for long."""
        missing, since = set(wanted), clock()
        while left := missing - self.ids():
            if len(left) < len(missing):
                since = clock()
            missing = left
            if clock() - since > _TIMEOUT_SECONDS:
                raise RunError(
                    f"{len(left):,} {self.table} did not reach the archive in "
                    f"{_TIMEOUT_SECONDS:.0f} s; nextbest events dead-letters says why"
                )
            sleep(_POLL_SECONDS)
