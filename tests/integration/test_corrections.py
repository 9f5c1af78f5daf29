"""Each correction of ministack: with it the stage does as AWS does, without it not.

A test that fails on the bare stage says that ministack has caught up: drop the correction.
"""

import base64
import io
import json
import time
import zipfile

import pytest

from pipelines.local import corrections
from tests.integration.bare import stage_without

CODE = """
class OddError(Exception):
    pass

def handler(event, context):
    if event.get("say"):
        print(event["say"])
    if event.get("fail"):
        raise OddError("odd")
    return {**event, "version": context.function_version}
"""
ROLE = "arn:aws:iam::000000000000:role/any-role"


@pytest.fixture(scope="module")
def bare_stage(tmp_path_factory):
    with stage_without(tmp_path_factory.mktemp("bare"), *corrections.CORRECTIONS) as stage:
        yield stage


@pytest.fixture(scope="module")
def both(local_stage, bare_stage):
    for stage in (local_stage, bare_stage):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("odd.py", CODE)
        stage.client("lambda").create_function(
            FunctionName="odd",
            Runtime="python3.13",
            Handler="odd.handler",
            Role=ROLE,
            Code={"ZipFile": buffer.getvalue()},
            Environment={"Variables": {"NEXTBEST_RUN": "r"}},
        )
        stage.client("s3").create_bucket(Bucket="texts")
        stage.client("s3").put_object(Bucket="texts", Key="a", Body=b"hello")
    time.sleep(1)
    return local_stage, bare_stage


def task(resource, parameters):
    state = {"Type": "Task", "Resource": f"arn:aws:states:::{resource}", "End": True}
    return {"StartAt": "Do", "States": {"Do": {**state, "Parameters": parameters}}}


def machine(stage, name, definition):
    return stage.client("stepfunctions").create_state_machine(
        name=name, definition=json.dumps(definition), roleArn=ROLE
    )["stateMachineArn"]


def outcome(stage, arn, wait=10.0):
    client = stage.client("stepfunctions")
    deadline = time.monotonic() + wait
    while True:
        found = client.describe_execution(executionArn=arn)
        if found["status"] != "RUNNING" or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def run(stage, name, definition):
    arn = machine(stage, name, definition)
    started = stage.client("stepfunctions").start_execution(stateMachineArn=arn, input="{}")
    return outcome(stage, started["executionArn"])


def test_a_silent_lambda_answers_at_once(both):
    fastest = []
    for stage in both:
        client, times = stage.client("lambda"), []
        for _ in range(8):
            began = time.perf_counter()
            client.invoke(FunctionName="odd", Payload=b"{}")
            times.append(time.perf_counter() - began)
        fastest.append(min(times))
    assert fastest[0] < 0.045 < fastest[1]


def test_a_call_has_its_own_log_and_no_other(local_stage, both):
    client = local_stage.client("lambda")
    for number in range(30):
        reply = client.invoke(
            FunctionName="odd", LogType="Tail", Payload=json.dumps({"say": f"line {number}"})
        )
        log = base64.b64decode(reply["ResponseMetadata"]["HTTPHeaders"]["x-amz-log-result"])
        assert log.decode() == f"line {number}"


def test_an_alias_splits_between_two_versions(both):
    shares = []
    for stage in both:
        client, waiter = stage.client("lambda"), stage.client("lambda").get_waiter
        versions = []
        for number in range(2):
            client.update_function_configuration(FunctionName="odd", Description=str(number))
            waiter("function_updated_v2").wait(FunctionName="odd")
            versions.append(client.publish_version(FunctionName="odd")["Version"])
        routing = {"AdditionalVersionWeights": {versions[1]: 0.3}}
        client.create_alias(
            FunctionName="odd", Name="split", FunctionVersion=versions[0], RoutingConfig=routing
        )
        answers = [
            client.invoke(FunctionName="odd", Qualifier="split", Payload=b"{}") for _ in range(200)
        ]
        said = [json.loads(answer["Payload"].read())["version"] for answer in answers]
        assert [answer["ExecutedVersion"] for answer in answers] == said
        shares.append(said.count(versions[1]) / len(said))
        task_answer = task("lambda:invoke", {"FunctionName": "odd:split", "Payload": {}})
        assert run(stage, "split", task_answer)["status"] == "SUCCEEDED"
    assert 0.17 < shares[0] < 0.43  # four standard deviations
    assert shares[1] == 0


def test_the_exception_class_reaches_error_equals(both):
    call = task("lambda:invoke", {"FunctionName": "odd", "Payload": {"fail": True}})
    errors = [run(stage, "odd-error", call)["error"] for stage in both]
    assert errors == ["OddError", "Runtime.HandlerError"]


def test_a_text_object_can_be_read(both):
    read = task("aws-sdk:s3:getObject", {"Bucket": "texts", "Key": "a"})
    corrected, bare = [run(stage, "read-text", read) for stage in both]
    assert json.loads(corrected["output"])["Body"] == "hello"
    assert bare["status"] == "FAILED" or json.loads(bare["output"]).get("Body") != "hello"


def test_environment_names_stay_as_they_are(both):
    look = task("aws-sdk:lambda:getFunctionConfiguration", {"FunctionName": "odd"})
    corrected, bare = [
        json.loads(run(stage, "look", look)["output"])["Environment"]["Variables"] for stage in both
    ]
    assert corrected == {"NEXTBEST_RUN": "r"}
    assert bare != corrected


@pytest.mark.parametrize(
    ("operator", "a", "b", "holds"),
    [
        ("StringGreaterThanPath", "b", "a", True),
        ("StringGreaterThanPath", "a", "a", False),
        ("StringLessThanPath", "a", "b", True),
        ("StringGreaterThanEqualsPath", "a", "a", True),
        ("StringLessThanEqualsPath", "b", "a", False),
        ("TimestampGreaterThanPath", "2026-01-01T01:00:00Z", "2026-01-01T00:00:00Z", True),
        ("TimestampEqualsPath", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z", False),
    ],
)
def test_a_choice_compares_with_the_value_at_a_path(both, operator, a, b, holds):
    rule = {"Variable": "$.a", operator: "$.b", "Next": "Yes"}
    states = {
        "Put": {"Type": "Pass", "Result": {"a": a, "b": b}, "Next": "Ask"},
        "Ask": {"Type": "Choice", "Choices": [rule], "Default": "No"},
        "Yes": {"Type": "Pass", "Result": "yes", "End": True},
        "No": {"Type": "Pass", "Result": "no", "End": True},
    }
    definition = {"StartAt": "Put", "States": states}
    name = f"compare-{operator}-{a < b}-{holds}".replace(":", "")
    corrected, bare = [json.loads(run(stage, name, definition)["output"]) for stage in both]
    assert (corrected, bare) == ("yes" if holds else "no", "no")


def test_starting_the_same_execution_twice_is_starting_it_once(both):
    pause = {"StartAt": "W", "States": {"W": {"Type": "Wait", "Seconds": 5, "End": True}}}
    results = []
    for stage in both:
        client, arn = stage.client("stepfunctions"), machine(stage, "pause", pause)
        given = {"stateMachineArn": arn, "name": "same", "input": "{}"}
        first = client.start_execution(**given)["executionArn"]
        try:
            results.append(client.start_execution(**given)["executionArn"] == first)
        except client.exceptions.ExecutionAlreadyExists:
            results.append(False)
    assert results == [True, False]


def test_a_stopped_execution_stays_aborted(both):
    retry = [{"ErrorEquals": ["States.ALL"], "IntervalSeconds": 1, "MaxAttempts": 1}]
    call = task("lambda:invoke", {"FunctionName": "odd", "Payload": {"fail": True}})
    call["States"]["Do"]["Retry"] = retry
    ends = []
    for stage in both:
        client, arn = stage.client("stepfunctions"), machine(stage, "stubborn", call)
        started = client.start_execution(stateMachineArn=arn, input="{}")["executionArn"]
        time.sleep(0.8)
        client.stop_execution(executionArn=started)
        time.sleep(2.5)
        ends.append(client.describe_execution(executionArn=started)["status"])
    assert ends == ["ABORTED", "FAILED"]
