"""Events and decisions while the consumers are killed: profiles and archive are as reckoned."""

from pipelines.local import cloud
from tests.benchmarks import events_under_load


def test_profiles_archive_and_dead_letters_are_exact_after_kills(deployed_stage, local_root):
    server = cloud.up(local_root).pid
    sizes = {"count": 3_000, "asked": 200, "kills": 4, "every": 2.0}
    counts = events_under_load.run(deployed_stage, server, tenant="load-events", **sizes)
    print(counts)
    assert counts.kills >= 2
    assert (counts.records, counts.malformed, counts.sent_twice) == (3_064, 30, 30)
    assert counts.decisions == 200
    assert counts.profiles > 100
    assert counts.wrong == 0
