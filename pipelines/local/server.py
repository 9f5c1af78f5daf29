"""The local stage's server process: ministack with our SageMaker and corrections, on loopback.

Started by `pipelines.local.cloud` as `python -m pipelines.local.server FOLDER PORT`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import psutil

SAVE_SECONDS = 3.0


def main(folder: Path, port: int) -> None:
    """Serve until SIGTERM; state is saved every few seconds and at the end."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack import app as ministack

    from pipelines.local import corrections, sagemaker

    service = sagemaker.install(folder / "jobs", endpoint_url=f"http://127.0.0.1:{port}")
    without = os.environ.get("NEXTBEST_WITHOUT_CORRECTIONS", "")
    corrections.install(without=frozenset(without.split(",")))
    stopping = threading.Event()
    threading.Thread(target=_save_regularly, args=(folder, stopping), daemon=True).start()
    configuration = Config()
    configuration.bind = [f"127.0.0.1:{port}"]
    configuration.keep_alive_timeout = 75
    configuration.graceful_timeout = 1
    configuration.loglevel = "WARNING"
    asyncio.run(_serve(serve, ministack.app, configuration, service, stopping))


async def _serve(serve, app, configuration, service, stopping: threading.Event) -> None:  # type: ignore[no-untyped-def]
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)

    async def shutdown() -> None:
        await stop.wait()
        stopping.set()
        service.shut_down()

    await serve(app, configuration, shutdown_trigger=shutdown)


def _save_regularly(folder: Path, stopping: threading.Event) -> None:
    """So that a killed server loses seconds, not everything.

    A server whose folder was removed has nobody to serve: it ends at once, and leaves nothing for
    a stage that is made in the same place.
    """
    from ministack import app as ministack
    from ministack.core.persistence import save_all

    own = _identity(folder)
    while not stopping.wait(SAVE_SECONDS):
        if _identity(folder) != own:
            _abandon()
        save_all(ministack._build_persistence_save_dict())


def _identity(folder: Path) -> tuple[int, int] | None:
    """Which folder it is, whatever stands at its path now."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _abandon() -> None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            child.kill()
    os._exit(1)  # not in order: that would save


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
