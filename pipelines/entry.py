"""The `nextbest` program: the command line, and a quiet end on Ctrl-C from the first import on."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command line; Ctrl-C ends it with exit code 130 and no traceback."""
    try:
        from pipelines import cli  # takes a moment, in which one may change one's mind

        cli.main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)
