"""`nextbest demo --data` with a log of nudges: imported, trained, released, asked."""

import io

from rich.console import Console

from pipelines.demo import nudges
from pipelines.demo.tour import tour


def taken(stage, tenant, source):
    """What the tour said on the way."""
    console = Console(file=io.StringIO(), width=200)
    tour(console, lambda: stage, tenant=tenant, source=source)
    return console.file.getvalue()


def test_a_log_of_nudges_gets_a_policy(deployed_stage, tmp_path):
    nudges.write_nudges(tmp_path)
    said = taken(deployed_stage, "ownnudges", tmp_path)
    assert "decisions" in said
    assert "interactions" not in said
    assert "somebody of the log" in said
    assert "nextbest decide nudge" in said
