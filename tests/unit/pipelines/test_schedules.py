"""Doing now what a schedule does when it is due."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines.errors import ScheduleError
from pipelines.schedules import run_schedule


class NotFound(Exception):
    """What the Scheduler says of a schedule that is not there."""


class FakeStage:
    """Scheduler and Step Functions in one; an execution takes two looks to end."""

    class exceptions:
        ResourceNotFoundException = NotFound

    schedule_group = "nextbest-local"

    def __init__(self, **end: Any) -> None:
        self.end = end
        self.looks = 0
        self.started: dict[str, Any] = {}

    def schedule(self, tenant: str, kind: str) -> str:
        return f"{tenant}-{kind}"

    def client(self, service: str) -> FakeStage:
        return self

    def get_schedule(self, **given: str) -> dict[str, Any]:
        if given != {"Name": "acme-nudge-policy", "GroupName": self.schedule_group}:
            raise NotFound
        return {"Target": {"Arn": "arn:retrain", "Input": '{"tenant": "acme"}'}}

    def start_execution(self, **given: str) -> dict[str, str]:
        self.started = given
        return {"executionArn": "arn:execution"}

    def describe_execution(self, **given: str) -> dict[str, Any]:
        self.looks += 1
        return {"status": "RUNNING"} if self.looks < 3 else self.end


def test_the_machine_gets_the_schedule_s_own_input_and_tells_the_run() -> None:
    output = json.dumps({"stamp": {"run": "nudge-policy-1"}})
    stage, slept = FakeStage(status="SUCCEEDED", output=output), []
    found = run_schedule(stage, "acme", kind="nudge-policy", sleep=slept.append)  # type: ignore[arg-type]
    assert found == "nudge-policy-1"
    assert stage.started == {"stateMachineArn": "arn:retrain", "input": '{"tenant": "acme"}'}
    assert len(slept) == 2


def test_a_machine_that_fails_is_told() -> None:
    stage = FakeStage(status="FAILED", error="S3.NoSuchKey", cause="no data set")
    with pytest.raises(ScheduleError, match=r"S3\.NoSuchKey: no data set"):
        run_schedule(stage, "acme", kind="nudge-policy", sleep=lambda s: None)  # type: ignore[arg-type]


def test_what_is_not_scheduled_cannot_be_run() -> None:
    with pytest.raises(ScheduleError, match="no schedule for 'recommender'"):
        run_schedule(FakeStage(), "acme", kind="recommender")  # type: ignore[arg-type]
