"""A sync of a stage: what it reads and stores, and what a crash or somebody else does to it."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from inference.archive import Archive
from inference.handlers.sync import answer
from inference.sync_commit import KEPT_SYNCS, SyncChangedError, commit_sync
from inference.sync_layout import POINTERS
from inference.sync_metrics import metrics_of
from pipelines import stage as stages
from pipelines import suppressions
from pipelines.data import import_datasets
from pipelines.pointers import newest_dataset
from pipelines.stage import NUDGE_POLICY, RECOMMENDER
from pipelines.sync import sync_tenant
from pipelines.sync_account import lines_of
from tests.unit.pipelines.emulated import moto_stage
from tests.unit.training.sync.archives import (
    RULES,
    START,
    imported_interactions,
    imported_nudges,
    interaction,
    nudge,
    recommendation,
    reward,
)

NOW = START + timedelta(days=40)
TENANT = "acme"


class Counting:
    """An S3 client that tells which objects were fetched, and may fail at a key."""

    def __init__(self, s3):
        self.s3, self.fetched, self.fails_at = s3, [], None

    def __getattr__(self, name):
        return getattr(self.s3, name)

    def download_file(self, bucket, key, path):
        self.fetched.append(key)
        return self.s3.download_file(bucket, key, path)

    def put_object(self, **given):
        if self.fails_at and self.fails_at in given["Key"]:
            raise ConnectionError("killed")
        return self.s3.put_object(**given)

    @property
    def archived(self):
        return [key for key in self.fetched if "/day=" in key]


@pytest.fixture
def stage(monkeypatch):
    with moto_stage() as found:
        counting = Counting(found.client("s3"))
        real = type(found).client
        monkeypatch.setattr(
            type(found), "client", lambda s, name: counting if name == "s3" else real(s, name)
        )
        yield found


@pytest.fixture
def s3(stage):
    return stage.client("s3")


@pytest.fixture
def imported(stage, tmp_path):
    import_both(stage, tmp_path)
    return stage


def import_both(stage, folder, *, now=START):
    imported_interactions().to_parquet(folder / "interactions.parquet")
    imported_nudges().to_parquet(folder / "nudges.parquet")
    import_datasets(stage, folder, tenant=TENANT, now=now)


def archive(stage, *rows):
    tables: dict[str, list] = {}
    for table, row in rows:
        tables.setdefault(table, []).append(row)
    Archive(stage.bucket, s3=stage.client("s3").s3).write(TENANT, tables, source="test")


def run(stage, **options):
    return sync_tenant(stage, TENANT, rules=RULES, now=options.pop("now", NOW), **options)


def newest(stage, kind=RECOMMENDER, table="interactions"):
    pointer = newest_dataset(stage, TENANT, kind=kind)
    body = stage.client("s3").get_object(
        Bucket=stage.bucket, Key=f"{pointer['prefix']}/{table}.parquet"
    )["Body"]
    return pd.read_parquet(io.BytesIO(body.read()))


def keys(stage, prefix):
    found = stage.client("s3").list_objects_v2(Bucket=stage.bucket, Prefix=prefix)
    return [item["Key"] for item in found.get("Contents", [])]


def test_names_are_those_of_the_stage(stage):
    kinds = {"interactions": RECOMMENDER, "nudges": NUDGE_POLICY}
    for kind, name in POINTERS.items():
        assert stages.POINTERS[kinds[kind]] == name


def test_without_an_archive_there_is_nothing_to_do(imported):
    before = newest_dataset(imported, TENANT, kind=RECOMMENDER)
    found = run(imported)
    assert (found.plan.due, found.account, found.stored) == ("", None, False)
    assert newest_dataset(imported, TENANT, kind=RECOMMENDER) == before
    assert keys(imported, f"tenants/{TENANT}/syncs/") == []


def test_only_objects_that_were_not_read_before_are_fetched(imported, s3):
    archive(imported, interaction(1, 1), nudge(1, 1))
    assert run(imported).plan.due == "the first sync"
    assert len(s3.archived) == 2
    archive(imported, interaction(2, 2))
    s3.fetched.clear()
    assert run(imported).plan.due == "new objects in the archive"
    assert len(s3.archived) == 1
    assert len(newest(imported)) == 44
    assert run(imported).account is None


def test_both_kinds_are_made_the_newest(imported):
    archive(imported, nudge(1, 1), reward(1, 2, decision_id="d1"), recommendation(1, 1))
    run(imported)
    log = newest(imported, NUDGE_POLICY, "nudges")
    assert log.set_index("decision_id").loc["d1", "reward"] == 1.0
    assert len(newest(imported, table="slots")) == 2


def test_a_dry_run_stores_nothing(imported):
    archive(imported, interaction(1, 1))
    before = keys(imported, f"tenants/{TENANT}/")
    found = run(imported, dry_run=True)
    assert found.account["interactions"]["rows"] == 43
    assert keys(imported, f"tenants/{TENANT}/") == before


@pytest.mark.parametrize("at", ["datasets/latest.json", "latest-nudges.json", "syncs/latest.json"])
def test_a_sync_that_is_killed_is_done_again_with_the_same_result(imported, s3, at):
    archive(imported, interaction(1, 1), nudge(1, 1))
    s3.fails_at = at
    with pytest.raises(ConnectionError):
        run(imported)
    s3.fails_at = None
    run(imported)
    assert len(newest(imported)) == 43
    assert len(newest(imported, NUDGE_POLICY, "nudges")) == 221


def test_committing_twice_changes_nothing(imported, s3):
    archive(imported, interaction(1, 1))
    plan = run(imported).plan
    before = [newest_dataset(imported, TENANT, kind=kind) for kind in (RECOMMENDER, NUDGE_POLICY)]
    commit_sync(s3, plan)
    after = [newest_dataset(imported, TENANT, kind=kind) for kind in (RECOMMENDER, NUDGE_POLICY)]
    assert before == after


def test_a_new_import_is_what_the_next_sync_rests_on(imported, tmp_path):
    archive(imported, interaction(1, 1), interaction(2, 2))
    run(imported)
    imported_interactions(customers=30).to_parquet(tmp_path / "interactions.parquet")
    import_datasets(imported, tmp_path, tenant=TENANT, now=NOW)
    assert len(newest(imported)) == 60
    assert run(imported).plan.due == "a new import"
    assert len(newest(imported)) == 62


def test_other_rules_and_a_wait_that_is_over_are_reasons_too(imported):
    archive(imported, nudge(1, 24 * 40 - 1))
    run(imported)
    assert run(imported).account is None
    found = run(imported, now=NOW + timedelta(hours=20))
    assert found.plan.due == "a decision has waited long enough"
    assert found.account["nudges"]["rows"] == 221
    other = type(RULES)(attribution_hours=10, reward_wait_hours=21)
    assert sync_tenant(imported, TENANT, rules=other, now=NOW).plan.due == "other rules"


def test_an_import_in_between_is_not_overwritten(imported, s3, tmp_path):
    archive(imported, interaction(1, 1))
    event = {"tenant": TENANT, "now": NOW.isoformat(), "unique": "ab"}
    plan = answer(event, s3=s3, bucket=imported.bucket)
    account = run(imported).account
    body = json.dumps(account).encode()
    s3.put_object(
        Bucket=imported.bucket, Key=f"tenants/{TENANT}/syncs/{plan['id']}/sync.json", Body=body
    )
    with pytest.raises(SyncChangedError, match=r"latest.json was written while"):
        answer({"plan": plan}, s3=s3, bucket=imported.bucket)


def test_an_erasure_in_between_is_not_undone(imported, s3):
    archive(imported, interaction(1, 1, customer="c1"))
    plan = run(imported).plan
    suppressions.suppress(imported, TENANT, {"c1": datetime(2027, 1, 1, tzinfo=UTC)})
    with pytest.raises(SyncChangedError, match="somebody was erased"):
        commit_sync(s3, plan)
    archive(imported, interaction(2, 2))
    run(imported)
    assert "c1" not in set(newest(imported)["customer_id"])


def test_rows_of_older_syncs_are_removed(imported):
    for number in range(4):
        archive(imported, interaction(number, number))
        run(imported, now=NOW + timedelta(minutes=number))
    prefix = f"tenants/{TENANT}/syncs/"
    found = {key.removeprefix(prefix).partition("/")[0] for key in keys(imported, prefix)}
    assert len(found - {"latest.json"}) == KEPT_SYNCS
    assert len(newest(imported)) == 46


def test_the_lambda_writes_what_the_job_reads(imported, s3):
    archive(imported, interaction(1, 1))
    event = {"tenant": TENANT, "now": "2026-05-01T00:00:00Z", "unique": "ab12", "rules": {}}
    plan = answer(event, s3=s3, bucket=imported.bucket)
    prefix = f"tenants/{TENANT}/syncs/20260501t000000-ab12"
    assert plan["inputs"]["archive"] == f"s3://{imported.bucket}/{prefix}/manifest.json"
    assert plan["inputs"]["last"] == f"s3://{imported.bucket}/none/"
    manifest = s3.get_object(Bucket=imported.bucket, Key=f"{prefix}/manifest.json")["Body"].read()
    start, key = json.loads(manifest)
    assert start == {"prefix": f"s3://{imported.bucket}/"}
    assert key.startswith(f"tenants/{TENANT}/events/interactions/day=2026-03-01/")
    json.dumps(plan)  # a state's data


def test_metrics_are_put_and_told(imported):
    archive(imported, interaction(1, 1), reward(1, 2, decision_id="nobody"))
    account = run(imported).account
    assert metrics_of(account)["NewInteractions"] == 1
    told = imported.client("cloudwatch").list_metrics(Namespace="nextbest")["Metrics"]
    assert {"Drift", "UnjoinedRewards"} <= {metric["MetricName"] for metric in told}
    assert {d["Name"]: d["Value"] for d in told[0]["Dimensions"]}["tenant"] == TENANT


def test_the_account_says_what_was_not_joined_and_why(imported):
    archive(imported, interaction(1, 1), nudge(1, 1), reward(1, 2, decision_id="gone"))
    told = list(lines_of(run(imported).account))
    assert ("new", "1 interactions, 1 decisions, 1 rewards") in told
    assert ("interactions", "43: 42 imported, 1 archived") in told
    assert ("not joined", "1 rewards: no such decision") in told
    assert ("drift", "too little to say") in told
