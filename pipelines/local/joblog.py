"""A job's log lines into CloudWatch Logs, in batches, while the job runs."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from typing import Any

FLUSH_SECONDS = 0.25
_BATCH = 1000


class JobLog:
    """Takes lines from the job's reader thread, writes them from a thread of its own."""

    def __init__(self, client: Any, group: str, stream: str) -> None:
        self._client, self._group, self._stream = client, group, stream
        self._lines: queue.Queue[tuple[int, str]] = queue.Queue()
        self._done = threading.Event()
        self._create()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _create(self) -> None:
        with contextlib.suppress(self._client.exceptions.ResourceAlreadyExistsException):
            self._client.create_log_group(logGroupName=self._group)
        self._client.create_log_stream(logGroupName=self._group, logStreamName=self._stream)

    def add(self, line: str) -> None:
        """A line; empty ones are dropped, as the service would refuse them."""
        if line:
            self._lines.put((int(time.time() * 1000), line))

    def close(self) -> None:
        """Write what is left."""
        self._done.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._done.wait(FLUSH_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        while not self._lines.empty():
            batch: list[dict[str, int | str]] = []
            while not self._lines.empty() and len(batch) < _BATCH:
                at, line = self._lines.get()
                batch.append({"timestamp": at, "message": line})
            self._client.put_log_events(
                logGroupName=self._group, logStreamName=self._stream, logEvents=batch
            )
