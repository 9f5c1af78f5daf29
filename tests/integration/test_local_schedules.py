"""A schedule fires when it is due, whatever the stage did meanwhile; the bare stage fires again."""

import json
import os
import re
import time
from datetime import UTC, datetime, timedelta

import pytest

from pipelines.local import cloud
from pipelines.stage import open_stage

ROLE = "arn:aws:iam::000000000000:role/any-role"
MACHINE = "arn:aws:states:us-east-1:000000000000:stateMachine:noted"


def make_machine(stage):
    states = {"N": {"Type": "Pass", "End": True}}
    stage.client("stepfunctions").create_state_machine(
        name="noted", definition=json.dumps({"StartAt": "N", "States": states}), roleArn=ROLE
    )


def definition(name, expression):
    return {
        "Name": name,
        "ScheduleExpression": expression,
        "FlexibleTimeWindow": {"Mode": "OFF"},
        "Target": {"Arn": MACHINE, "RoleArn": ROLE, "Input": json.dumps({"by": name})},
    }


def at(seconds):
    return f"at({datetime.now(UTC) + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S})"


def fired(stage):
    """How often each schedule has started the machine."""
    client, counts = stage.client("stepfunctions"), {}
    for execution in client.list_executions(stateMachineArn=MACHINE)["executions"]:
        found = client.describe_execution(executionArn=execution["executionArn"])
        name = json.loads(found["input"])["by"]
        counts[name] = counts.get(name, 0) + 1
    return counts


def wait_for(stage, name, times):
    for _ in range(150):
        if fired(stage).get(name, 0) >= times:
            return
        time.sleep(0.1)
    raise AssertionError(fired(stage))


@pytest.mark.parametrize(("without", "again"), [("", 0), ("remember_when_schedules_fired", 1)])
def test_a_past_schedule_does_not_fire_again(tmp_path, monkeypatch, without, again):
    monkeypatch.setitem(os.environ, "NEXTBEST_WITHOUT_CORRECTIONS", without)
    stage = open_stage("local", root=tmp_path)
    try:
        make_machine(stage)
        scheduler = stage.client("scheduler")
        scheduler.create_schedule(**definition("once", at(1)))
        wait_for(stage, "once", 1)
        time.sleep(0.5)
        cloud.down(tmp_path)
        stage = open_stage("local", root=tmp_path)
        time.sleep(2.5)
        assert fired(stage) == {"once": 1 + again}
    finally:
        cloud.down(tmp_path)


def make_an_hour_older(root):
    """The saved schedules' creation, an hour back: longer ago than any rate here."""
    path = root / ".nextbest" / "state" / "scheduler.json"
    text = path.read_text()
    older = re.sub(r'("CreationDate": )([0-9.]+)', lambda m: f"{m[1]}{float(m[2]) - 3600}", text)
    assert older != text
    path.write_text(older)


@pytest.mark.parametrize(("without", "again"), [("", 0), ("remember_when_schedules_fired", 1)])
def test_a_rate_goes_on_counting(tmp_path, monkeypatch, without, again):
    monkeypatch.setitem(os.environ, "NEXTBEST_WITHOUT_CORRECTIONS", without)
    stage = open_stage("local", root=tmp_path)
    try:
        make_machine(stage)
        stage.client("scheduler").create_schedule(**definition("often", "rate(1 minute)"))
        time.sleep(1.5)
        cloud.down(tmp_path)
        make_an_hour_older(tmp_path)
        stage = open_stage("local", root=tmp_path)
        time.sleep(2.5)
        assert fired(stage).get("often", 0) == again
    finally:
        cloud.down(tmp_path)


def test_a_schedule_that_is_changed_counts_anew(local_stage):
    make_machine(local_stage)
    scheduler = local_stage.client("scheduler")
    scheduler.create_schedule(**definition("moved", at(1)))
    wait_for(local_stage, "moved", 1)
    scheduler.update_schedule(**definition("moved", at(1)))
    wait_for(local_stage, "moved", 2)
    scheduler.update_schedule(**definition("moved", "rate(1 minute)"))
    time.sleep(2.5)
    assert fired(local_stage)["moved"] == 2
    scheduler.delete_schedule(Name="moved")


@pytest.mark.parametrize(
    ("without", "times"), [("", {"soon": 1}), ("tick_schedules_every_second", {})]
)
def test_schedules_are_looked_at_every_second(tmp_path, monkeypatch, without, times):
    monkeypatch.setitem(os.environ, "NEXTBEST_WITHOUT_CORRECTIONS", without)
    stage = open_stage("local", root=tmp_path)
    try:
        make_machine(stage)
        stage.client("scheduler").create_schedule(**definition("soon", at(1)))
        time.sleep(4)
        assert fired(stage) == times
    finally:
        cloud.down(tmp_path)
