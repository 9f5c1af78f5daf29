"""A customer is erased from a tenant with data, runs, an archive, a profile and dead letters."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import signal
import subprocess
import sys
import tarfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from botocore.exceptions import ClientError

from inference.dynamo_profiles import DynamoProfiles
from inference.profiles import Profile
from pipelines import customers, data, erasures, events, stacks, suppressions
from pipelines.demo import nudges
from pipelines.demo.shop import write_shop
from pipelines.pointers import newest_dataset
from pipelines.stage import RECOMMENDER, Stage
from pipelines.sync import sync_tenant
from pipelines.workspace import Workspace
from tests.integration.grep import holders, in_queue, unpacked
from tests.integration.test_events import archived, eventually, view
from training.sync.configuration import SyncRules

TENANT, PERSON, OTHER = "forgetful", "person-4f7a9b21", "person-88c1d0e5"
QUICK = {"tuning_customers": "50", "evaluation_customers": "100"}
EARLIER = datetime.now(UTC) - timedelta(hours=1)


def _silent(what: str, number: int, count: int) -> None:
    """Nobody watches a test."""


def renamed(folder: Path, *tables: str) -> None:
    """Two customers of a folder under names that stand nowhere else."""
    names = {"customer-7": PERSON, "customer-8": OTHER}
    for table in tables:
        path = folder / f"{table}.parquet"
        frame = pd.read_parquet(path)
        frame["customer_id"] = frame["customer_id"].replace(names)
        assert {PERSON, OTHER} <= set(frame["customer_id"])
        frame.to_parquet(path, index=False)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A shop and a campaign, both with the two customers."""
    shop, campaign = (tmp_path_factory.mktemp(name) for name in ("shop", "campaign"))
    write_shop(shop, customers=300)
    renamed(shop, "interactions", "customers")
    nudges.write_nudges(campaign, customers=2000)
    renamed(campaign, "nudges")
    return [shop, campaign]


@pytest.fixture(scope="module")
def workspace(deployed_stage: Stage, folders: list[Path]) -> Workspace:
    """The tenant with two runs, and events and decisions of the two customers."""
    stacks.add_tenant(deployed_stage, TENANT, progress=lambda line: None)
    for folder in folders:
        data.import_datasets(deployed_stage, folder, tenant=TENANT)
    found = Workspace(deployed_stage, TENANT)
    found.train(**QUICK).wait(output=None)
    found.train("nudge-policy", **nudges.SETTINGS).wait(output=None)
    for person in (PERSON, OTHER):
        events.put(deployed_stage, [line.encode() for line in lines_of(person)])
        poison = view(person, tenant=TENANT, colour="red")
        events.put_records(deployed_stage, [poison])
        found.decide({"customer_id": person, "limit": 3})
        found.decide({"customer_id": person}, decision="nudge")
    eventually(lambda: len(archived(deployed_stage, "decisions", tenant=TENANT)) >= 4)
    eventually(lambda: in_queue(deployed_stage, deployed_stage.dead_letters, OTHER))
    assert sync_tenant(deployed_stage, TENANT, rules=SyncRules()).stored
    return found


def lines_of(person: str) -> list[str]:
    head = {"schema_version": 1, "tenant": TENANT, "customer_id": person}
    kinds: list[dict[str, Any]] = [
        {"type": "interaction", "product_id": "mug-32", "event": "view"},
        {"type": "consent", "channel": "email", "granted": True},
        {"type": "customer", "attributes": {"town": "Ulm"}},
        {"type": "reward", "reward": 1.0},
    ]
    at = EARLIER.isoformat()
    return [
        json.dumps({**head, **k, "event_id": f"{person}-{k['type']}", "timestamp": at})
        for k in kinds
    ]


def tarred(content: bytes) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w:gz") as file:
        for name, part in (("large", b"0" * 10**6), ("inside", content)):
            member = tarfile.TarInfo(name)
            member.size = len(part)
            file.addfile(member, io.BytesIO(part))
    return target.getvalue()


def zipped(content: bytes) -> bytes:
    target = io.BytesIO()
    np.savez_compressed(target, names=np.array([content.decode()]))
    return target.getvalue()


def parquet(content: bytes) -> bytes:
    nested = [[{"customer": content.decode()}]] * 3
    return bytes(pd.DataFrame({"rows": nested}).to_parquet(compression="zstd"))


def array(content: bytes) -> bytes:
    target = io.BytesIO()
    np.save(target, np.array([content.decode(), "x"]))
    return target.getvalue()


def areas(stage: Stage, text: str) -> set[str]:
    return {key.split("/")[2] for key in holders(stage, TENANT, text)}


def profile(stage: Stage, person: str) -> Profile:
    table, client = stage.profiles_table, stage.client("dynamodb")
    return DynamoProfiles(table, TENANT, client=client).read(person).profile


def nextbest(root: Path, *arguments: str) -> subprocess.Popen[str]:
    """The command line in a process of its own."""
    command = [sys.executable, "-m", "pipelines.cli", *arguments, "--tenant", TENANT]
    return subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, tarred, zipped, parquet, array])
def test_the_grep_below_looks_into_whatever_it_is_packed_in(pack: Any) -> None:
    content = tarred(pack(PERSON.encode() * 3)) + b"metadata, key"
    assert [name for name, part in unpacked("file", content) if PERSON.encode() in part]


def test_before_they_are_erased_both_are_everywhere(workspace: Workspace) -> None:
    """What the erasure below is held against: this grep finds."""
    stage = workspace.stage
    for person in (PERSON, OTHER):
        assert areas(stage, person) == {"datasets", "events", "decisions", "syncs"}
        assert in_queue(stage, stage.dead_letters, person) == 1
        assert profile(stage, person).attributes == {"town": "Ulm"}


def test_no_model_holds_a_customers_id(workspace: Workspace) -> None:
    """A run's models, figures, golden requests, checkpoints and prepared arrays, unpacked."""
    runs = [key for key in holders(workspace.stage, TENANT, "") if "/runs/" in key]
    assert {"model.tar.gz", "output.tar.gz", "golden.json", "meta.json"} <= {
        key.rpartition("/")[2] for key in runs
    }
    inside = {key.rpartition("!")[2] for key in runs if "!gz!" in key}
    assert {"manifest.json", "product_ids.json", "trend_order.npy"} <= inside
    assert "runs" not in areas(workspace.stage, "customer-1")
    assert "datasets" in areas(workspace.stage, "customer-1")


def test_an_export_has_everything_on_a_person(workspace: Workspace) -> None:
    stage = workspace.stage
    found = customers.export(stage, TENANT, PERSON, now=datetime.now(UTC), progress=_silent)
    held = {(h["from"].split("/")[5], h["table"]): len(h["rows"]) for h in found["held"][1:]}
    places = {("datasets", name) for name in ("interactions", "customers", "nudges")}
    places |= {("events", name) for name in ("interactions", "consents", "customers", "rewards")}
    assert places | {("decisions", "decisions")} <= set(held)
    assert found["held"][0]["table"] == "dead letters"
    assert found["profile"]["profile"]["attributes"] == {"town": "Ulm"}
    assert OTHER not in json.dumps(found, default=str)


def test_an_erasure_that_is_killed_is_finished_by_the_next(
    workspace: Workspace, local_root: Path
) -> None:
    """Killed with -9 when it has put the person on the list; then --pending, which knows no id."""
    stage = workspace.stage
    killed = nextbest(local_root, "customers", "erase", OTHER, "--yes")
    eventually(lambda: suppressions.read(stage, TENANT).erased_at(OTHER))
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert profile(stage, OTHER) == Profile()
    assert len(erasures.left_over(stage, TENANT)) == 1
    again = nextbest(local_root, "customers", "erase", "--pending", "--yes")
    told, _ = again.communicate(timeout=120)
    assert (again.returncode, "1 erased; receipt" in told) == (0, True), told
    assert holders(stage, TENANT, OTHER) == []
    assert in_queue(stage, stage.dead_letters, OTHER) == 0


def test_erased_a_customer_is_in_no_object_and_everything_goes_on(
    workspace: Workspace, folders: list[Path]
) -> None:
    stage, now = workspace.stage, datetime.now(UTC)
    assert holders(stage, TENANT, PERSON)
    began = time.process_time()
    found = erasures.erase(stage, TENANT, {PERSON: now}, progress=_silent)
    seconds = time.process_time() - began
    print(f"erased in {seconds:.2f} s of CPU: {found.done.rows}, {found.dead_letters} dead letters")
    assert found.receipt
    assert holders(stage, TENANT, PERSON) == []
    assert in_queue(stage, stage.dead_letters, PERSON) == 0
    assert profile(stage, PERSON) == Profile()
    assert workspace.decide({"customer_id": PERSON, "limit": 3})["fallback"] == "trend"
    assert workspace.decide({"history": ["mug-32"], "limit": 3})["products"]
    assert "action" in workspace.decide({"customer_id": "somebody"}, decision="nudge")


def test_what_comes_late_stays_out_and_what_comes_after_is_new(workspace: Workspace) -> None:
    """Of the erased: an old event; and of one and the same batch a new one, which tells when."""
    stage = workspace.stage
    late = view(PERSON, tenant=TENANT, timestamp=EARLIER.isoformat(), product_id="late-1")
    assert events.put(stage, [late, view(PERSON, tenant=TENANT, product_id="new-1")]) == (2, [])

    def products() -> list[str]:
        rows = archived(stage, "interactions", tenant=TENANT)
        return [row["product_id"] for row in rows if row["customer_id"] == PERSON]

    eventually(products)
    table, client = stage.profiles_table, stage.client("dynamodb")
    known = DynamoProfiles(table, TENANT, client=client)
    eventually(lambda: known.read(PERSON).interactions)
    assert products() == ["new-1"]
    assert [seen.product_id for seen in known.read(PERSON).interactions] == ["new-1"]


def test_the_next_run_works_without_the_erased_whatever_its_data_set_holds(
    workspace: Workspace, folders: list[Path]
) -> None:
    """The file of before is put back under the data set, as by somebody who knows of no list."""
    stage = workspace.stage
    [imported] = data.import_datasets(stage, folders[0], tenant=TENANT)[:1]
    assert imported.profile["suppressed"] > 0
    prefix = imported.uri.removeprefix(f"s3://{stage.bucket}/")
    name = "interactions.parquet"
    stage.client("s3").upload_file(str(folders[0] / name), stage.bucket, f"{prefix}/{name}")
    run = workspace.train(**QUICK).wait(output=None)
    assert run.metrics()["suppressed"] == imported.profile["suppressed"]
    assert run.view.outcome in ("released", "refused")


def test_the_next_sync_works_without_the_erased_of_the_same_data_set(workspace: Workspace) -> None:
    stage, imported = workspace.stage, newest_dataset(workspace.stage, TENANT, kind=RECOMMENDER)
    events.put(stage, [view("somebody-else", tenant=TENANT, product_id="mug-32")])
    eventually(lambda: "somebody-else" in str(archived(stage, "interactions", tenant=TENANT)))
    assert sync_tenant(stage, TENANT, rules=SyncRules()).stored
    synced = newest_dataset(stage, TENANT, kind=RECOMMENDER)
    assert imported
    assert synced
    assert synced["prefix"] != imported["prefix"]
    assert {key.rpartition("/")[0] for key in holders(stage, TENANT, OTHER)} == {imported["prefix"]}


def test_a_request_by_an_event_is_carried_out(workspace: Workspace) -> None:
    stage, name = workspace.stage, "person-0b5e77aa"
    asked = {"type": "erasure", "product_id": None, "event": None}
    line = json.loads(view(name, tenant=TENANT, **asked))
    erasure = {key: value for key, value in line.items() if value is not None}
    events.put(stage, [view(name, tenant=TENANT, timestamp=EARLIER.isoformat())])
    events.put(stage, [json.dumps(erasure).encode()])
    waiting = eventually(lambda: erasures.pending(stage, TENANT))
    assert set(waiting) == {name}
    assert erasures.erase(stage, TENANT, waiting, progress=_silent).receipt
    assert erasures.pending(stage, TENANT) == {}
    assert holders(stage, TENANT, name) == []


def test_receipts_are_listed_and_tell_on_nobody(workspace: Workspace, local_root: Path) -> None:
    told, _ = nextbest(local_root, "customers", "erasures", "--json").communicate(timeout=60)
    assert len(json.loads(told)) == 3
    assert PERSON not in told


def test_the_command_says_whom_it_needs(workspace: Workspace, local_root: Path) -> None:
    process = nextbest(local_root, "customers", "erase")
    told, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Give ids, or --pending" in told


def test_s3_refuses_to_write_over_what_was_written_meanwhile(deployed_stage: Stage) -> None:
    """What makes two erasures at once safe."""
    s3, where = deployed_stage.client("s3"), {"Bucket": deployed_stage.bucket, "Key": "try/tag"}
    tag = s3.put_object(**where, Body=b"1", IfNoneMatch="*")["ETag"]
    s3.put_object(**where, Body=b"2", IfMatch=tag)
    for condition in ({"IfMatch": tag}, {"IfNoneMatch": "*"}):
        with pytest.raises(ClientError, match="PreconditionFailed"):
            s3.put_object(**where, Body=b"3", **condition)
