"""Events on the local stage: put, recorded, dead letters, replay."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

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
