"""From the stream to a data set: events are archived, synced by hand, and by a scheduled run."""

import json
import time
from datetime import UTC, datetime, timedelta

import pytest

from inference.archive import Archive
from pipelines import events, schedules, stacks
from pipelines.data import import_datasets
from pipelines.pointers import newest_dataset
from pipelines.runs import show_run, states_of, stop_run
from pipelines.stage import NUDGE_POLICY, RECOMMENDER
from pipelines.sync import retrain, rules_of, sync_tenant
from pipelines.workspace import Workspace
from tests.unit.training.sync.archives import (
    imported_interactions,
    imported_nudges,
    interaction,
    nudge,
    reward,
)

TENANT = "syncing"
RULES = {"attribution_hours": 1, "reward_wait_hours": 1}


@pytest.fixture(scope="module")
def stage(deployed_stage, tmp_path_factory):
    stacks.add_tenant(deployed_stage, TENANT, progress=lambda line: None)
    folder = tmp_path_factory.mktemp("imported")
    imported_interactions().to_parquet(folder / "interactions.parquet")
    imported_nudges().to_parquet(folder / "nudges.parquet")
    import_datasets(deployed_stage, folder, tenant=TENANT)
    return deployed_stage


def archive(stage, *rows):
    for table, row in rows:
        target = Archive(stage.bucket, s3=stage.client("s3"))
        target.write(TENANT, {table: [row]}, source="test")


def event(number, **more):
    head = {"schema_version": 1, "tenant": TENANT, "event_id": f"live-{number}"}
    return json.dumps({**head, "timestamp": datetime.now(UTC).isoformat(), **more}).encode()


def wait_for(what, seconds=30):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)
    return found


def archived(stage):
    prefix = f"tenants/{TENANT}/events/interactions/"
    return stage.client("s3").list_objects_v2(Bucket=stage.bucket, Prefix=prefix)["KeyCount"]


def test_an_event_on_the_stream_is_in_the_next_data_set(stage):
    view = {"customer_id": "c1", "product_id": "p1", "event": "view"}
    events.put(stage, [event(1, type="interaction", **view), event(2, type="interaction", **view)])
    wait_for(lambda: archived(stage))
    found = sync_tenant(stage, TENANT, rules=rules_of(RULES), now=datetime.now(UTC))
    assert found.account["interactions"]["imported"] == 42
    assert found.account["interactions"]["rows"] in (43, 44)  # the other may be archived later
    pointer = newest_dataset(stage, TENANT, kind=RECOMMENDER)
    assert pointer["prefix"].endswith("-interactions")


def test_a_scheduled_run_syncs_first_and_learns_from_what_it_made(stage):
    archive(stage, interaction(7, 1), nudge(7, 1), reward(7, 1.5, decision_id="d7"))
    workspace = Workspace(stage, TENANT)
    request = workspace.request(NUDGE_POLICY, {})
    schedules.set_schedule(stage, request, expression=schedules.rate("7d"), events=RULES)
    run = schedules.run_schedule(stage, TENANT, kind=NUDGE_POLICY)
    stop_run(stage, run)
    pointer = newest_dataset(stage, TENANT, kind=NUDGE_POLICY)
    assert show_run(stage, run).input["dataset"] == pointer["prefix"]
    key = f"tenants/{TENANT}/syncs/{pointer['sync']}/sync.json"
    account = json.loads(stage.client("s3").get_object(Bucket=stage.bucket, Key=key)["Body"].read())
    assert account["nudges"]["rows"] == 221
    assert account["nudges"]["joined"]["rewarded"] == 1
    assert "Sync" in last_states(stage)

    again = schedules.run_schedule(stage, TENANT, kind=NUDGE_POLICY)
    stop_run(stage, again)
    assert "Sync" not in last_states(stage)
    assert show_run(stage, again).input["dataset"] == pointer["prefix"]
    schedules.remove_schedule(stage, TENANT, kind=NUDGE_POLICY)


def last_states(stage):
    """The names of the states that the newest retraining went through."""
    client = stage.client("stepfunctions")
    found = client.list_executions(stateMachineArn=stage.machine_arn("retrain"))["executions"]
    newest = max(found, key=lambda execution: execution["startDate"])
    return [state.name for state in states_of(client, newest["executionArn"])]


def test_a_drift_starts_a_run_of_what_was_made(stage):
    shifted = [nudge(100 + n, 2, context='{"age": 60}') for n in range(120)]
    target = Archive(stage.bucket, s3=stage.client("s3"))
    target.write(TENANT, {"decisions": [row for _, row in shifted]}, source="test")
    found = sync_tenant(stage, TENANT, rules=rules_of(RULES))
    assert found.drift > 0.25
    assert max(found.account["drift"]["shifts"], key=drift_in(found)) == "context_age"
    runs = retrain(stage, TENANT, found)
    for run in runs:
        stop_run(stage, run)
    assert [run.rpartition("-2")[0] for run in runs] == [RECOMMENDER, NUDGE_POLICY]
    prefix = newest_dataset(stage, TENANT, kind=NUDGE_POLICY)["prefix"]
    assert show_run(stage, runs[1]).input["dataset"] == prefix


def drift_in(found):
    return lambda name: found.account["drift"]["shifts"][name]["drift"]


def test_a_sync_by_hand_and_one_in_the_cloud_make_the_same(stage):
    """Both rest on the same import and read the whole archive."""
    now = datetime.now(UTC) + timedelta(hours=3)
    other = sync_tenant(
        stage, TENANT, rules=rules_of({**RULES, "default_reward": -1.0}), now=now, dry_run=True
    )
    assert other.plan.due == "other rules"
    assert other.account["nudges"]["joined"]["rewarded"] == 1
    assert other.account["nudges"]["rows"] == 341
