"""Decisions of the released Lambda in the archive: as they were answered, and whatever breaks."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.stage import Stage
from pipelines.workspace import Workspace
from tests.integration.small_shop import open_shop
from tests.integration.test_events import archived, eventually

TENANT = "logged"
RECORDER = "nextbest-local-record-decisions"


@pytest.fixture(scope="module")
def shop(deployed_stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return open_shop(deployed_stage, TENANT, tmp_path_factory.mktemp("small"))


def ask(shop: Workspace, count: int) -> list[dict[str, Any]]:
    return [shop.decide({"customer_id": f"c-{n}", "limit": 2}) for n in range(count)]


def archived_once(shop: Workspace, answers: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows of these answers by id, when all are there."""
    wanted = {answer["decision_id"] for answer in answers}

    def rows() -> list[dict[str, Any]]:
        found = archived(shop.stage, "decisions", tenant=TENANT)
        return found if wanted <= {row["decision_id"] for row in found} else []

    return {row["decision_id"]: row for row in eventually(rows)}


def test_a_decision_is_archived_as_it_was_answered(shop: Workspace) -> None:
    answers = ask(shop, 5)
    rows = archived_once(shop, answers)
    for number, answer in enumerate(answers):
        row = rows[answer["decision_id"]]
        assert answer["logged"] is True
        shown = [(p["product_id"], p["score"], p["propensity"]) for p in answer["products"]]
        assert [(s["product_id"], s["score"], s["propensity"]) for s in row["slots"]] == shown
        assert (row["customer_id"], row["run"]) == (f"c-{number}", answer["run"])
        assert f"/day={row['at']:%Y-%m-%d}/" in row["key"]


class Outage:
    """The stage without its stream of decisions, then without the queue for them either."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.kinesis, self.sqs, self.lambdas = map(stage.client, ("kinesis", "sqs", "lambda"))
        self._queue = self.sqs.get_queue_url(QueueName=stage.unsent_decisions)["QueueUrl"]
        self._attributes = self.sqs.get_queue_attributes(
            QueueUrl=self._queue, AttributeNames=["VisibilityTimeout"]
        )["Attributes"]

    def break_stream(self) -> None:
        """With its mapping, which would go on at a place that the next stream does not have."""
        [mapping] = self._mappings(f"stream/{self.stage.decision_stream}")
        self._arn = mapping["EventSourceArn"]
        self.lambdas.delete_event_source_mapping(UUID=mapping["UUID"])
        self.kinesis.delete_stream(StreamName=self.stage.decision_stream)

    def break_queue(self) -> None:
        self.sqs.delete_queue(QueueUrl=self._queue)

    def repair(self) -> None:
        self.sqs.create_queue(QueueName=self.stage.unsent_decisions, Attributes=self._attributes)
        mode = {"StreamMode": "ON_DEMAND"}
        self.kinesis.create_stream(StreamName=self.stage.decision_stream, StreamModeDetails=mode)
        self.lambdas.create_event_source_mapping(
            EventSourceArn=self._arn,
            FunctionName=RECORDER,
            StartingPosition="TRIM_HORIZON",
            BatchSize=500,
        )

    def _mappings(self, end: str) -> list[dict[str, Any]]:
        found = self.lambdas.list_event_source_mappings(FunctionName=RECORDER)
        return [m for m in found["EventSourceMappings"] if m["EventSourceArn"].endswith(end)]


@pytest.fixture
def outage(deployed_stage: Stage) -> Outage:
    return Outage(deployed_stage)


def kept(root: Path) -> list[str]:
    """Files of decisions that wait on the function's disk."""
    folders = root.rglob(f"unsent-decisions-nextbest-local-{TENANT}-next-best-product")
    return [name for folder in folders for name in os.listdir(folder)]


def test_no_decision_is_lost_without_stream_and_queue(
    shop: Workspace, outage: Outage, local_root: Path
) -> None:
    answers = ask(shop, 5)
    archived_once(shop, answers)
    outage.break_stream()
    without_stream = ask(shop, 20)
    assert {answer["logged"] for answer in without_stream} == {True}
    archived_once(shop, without_stream)
    outage.break_queue()
    without_both = ask(shop, 20)
    assert all(answer["products"] for answer in without_both)
    assert {answer["logged"] for answer in without_both} == {False}
    assert len(kept(local_root)) == 20
    outage.repair()
    after: list[dict[str, Any]] = []
    while kept(local_root) or not after[-1]["logged"]:
        time.sleep(0.2)
        after += ask(shop, 1)
    every = [*answers, *without_stream, *without_both, *after]
    rows = archived_once(shop, every)
    told = Counter(str(answer["logged"]) for answer in every)
    print(f"{len(every)} answers, logged: {dict(told)}; {len(rows)} decisions in the archive")


def test_what_the_log_costs_an_answer(shop: Workspace) -> None:
    """Printed: the whole of an invocation, with the log and, as a replay, without."""
    ask(shop, 10)
    took = {}
    for name, more in (("logged", {}), ("replay", {"now": "2026-11-24T00:00:00Z"})):
        times = []
        for _ in range(50):
            began = time.perf_counter()
            shop.decide({"limit": 2, **more})
            times.append(1000 * (time.perf_counter() - began))
        took[name] = sorted(times)[len(times) // 2]
    print({name: f"{value:.1f} ms" for name, value in took.items()})
    assert took["logged"] < took["replay"] + 100
