"""Events on the local stage: put, recorded, dead letters, replay."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pyarrow import parquet

from inference.archive import folder_of
from inference.dynamo_profiles import DynamoProfiles
from pipelines import events
from pipelines.stage import Stage

PATIENCE_SECONDS = 60.0


def view(customer_id: str, **change: Any) -> bytes:
    fields = {
        "schema_version": 1,
        "type": "interaction",
        "event_id": uuid.uuid4().hex,
        "tenant": "acme",
        "customer_id": customer_id,
        "timestamp": datetime.now(UTC).isoformat(),
        "product_id": "lamp-1",
        "event": "view",
    }
    return json.dumps({**fields, **change}).encode()


def eventually(condition: Callable[[], Any]) -> Any:
    """The first true value of the condition."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_SECONDS} s")


def profiles(stage: Stage) -> DynamoProfiles:
    return DynamoProfiles(stage.profiles_table, "acme", client=stage.client("dynamodb"))


def archived(stage: Stage, table: str, *, tenant: str = "acme") -> list[dict[str, Any]]:
    """The rows of a table, as often as they are there, each with its object's `key`."""
    s3, prefix = stage.client("s3"), folder_of(tenant, table)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=stage.bucket, Prefix=prefix)
    found = []
    for item in (item for page in pages for item in page.get("Contents", [])):
        body = s3.get_object(Bucket=stage.bucket, Key=item["Key"])["Body"].read()
        rows = parquet.read_table(io.BytesIO(body)).to_pylist()
        found += [{**row, "key": item["Key"]} for row in rows]
    return found


def test_what_is_recorded_is_archived_by_its_own_day(deployed_stage: Stage) -> None:
    late = view("c-late", timestamp="2026-01-02T23:30:00-01:00")
    assert events.put(deployed_stage, [late, view("c-today")])[0] == 2
    known = profiles(deployed_stage)
    eventually(lambda: all(known.read(name).interactions for name in ("c-late", "c-today")))
    keys = {row["customer_id"]: row["key"] for row in archived(deployed_stage, "interactions")}
    assert "/day=2026-01-03/" in keys["c-late"]
    assert f"/day={datetime.now(UTC):%Y-%m-%d}/" in keys["c-today"]


def test_an_event_put_is_soon_in_the_profile(deployed_stage: Stage) -> None:
    known, latencies = profiles(deployed_stage), []
    for number in range(6):
        began = time.monotonic()
        assert events.put(deployed_stage, [view("c-now")]) == (1, [])
        eventually(lambda n=number: len(known.read("c-now").interactions) == n + 1)
        latencies.append(time.monotonic() - began)
    print(f"put to profile: first {latencies[0]:.2f} s, then {sorted(latencies[1:])}")


def test_a_poison_record_is_a_dead_letter_that_can_be_replayed(deployed_stage: Stage) -> None:
    known = profiles(deployed_stage)
    poison = view("c-poison", colour="red")
    assert events.put_records(deployed_stage, [view("c-a"), poison, view("c-b")]) == 3
    letters = eventually(lambda: events.dead_letters(deployed_stage))
    assert [(found.records, "colour" in found.error) for found in letters] == [((poison,), True)]
    eventually(lambda: known.read("c-a").interactions and known.read("c-b").interactions)
    assert events.replay(deployed_stage, letters) == 1
    again = eventually(lambda: events.dead_letters(deployed_stage))
    assert [found.records for found in again] == [(poison,)]
    assert again[0].id != letters[0].id
