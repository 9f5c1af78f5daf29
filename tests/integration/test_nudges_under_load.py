"""Many ask for nudges at once while the Lambda's processes are killed: nothing is lost."""

from pipelines.local import cloud
from tests.benchmarks import nudges_under_load


def test_answers_and_table_agree_after_kills(deployed_stage, local_root):
    server = cloud.up(local_root).pid
    counts = nudges_under_load.run(deployed_stage, server, tenant="load", count=250, kills=2)
    print(counts)
    assert counts.kills == 2
    assert counts.questions == 250
    assert counts.nudges > 50  # the cap was in reach, and the table was written
    assert counts.degraded < 25
    assert counts.wrong == 0
