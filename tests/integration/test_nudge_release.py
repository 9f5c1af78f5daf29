"""Nudge policies on the local stage, from an artefact on: released, asked, watched, promoted."""

import json
import time

import pytest

from inference import artifact
from inference.dynamo_profiles import DynamoProfiles
from inference.nudge import Nudge
from inference.nudge_contracts import decode_nudge_request
from inference.policy import Policy, draw
from pipelines import apprentices, releases, stacks
from pipelines.errors import ReleaseError
from pipelines.workspace import Workspace
from tests.integration.test_events import archived, eventually
from tests.unit.inference import small_policy

FIRST, SECOND, THIRD = (f"nudge-policy-2026112{day}t001904-ab12c{day}" for day in (4, 5, 6))
TENANT = "nudger"


@pytest.fixture(scope="module")
def workspace(deployed_stage):
    stacks.add_tenant(deployed_stage, TENANT, progress=lambda line: None)
    return Workspace(deployed_stage, TENANT)


def golden(folder, *, broken=False):
    """Golden requests as an evaluation records them: answered by the core, by key."""
    nudge = Nudge(Policy.open(folder), tenant=TENANT)
    cases = []
    for number in range(5):
        asked = {
            "customer_id": f"c-{number}",
            "context": {"age": 20 + 10 * number, "device": "app"},
            "profile": {"consents": {"email": number % 2 == 0}},
            "decision_key": f"golden-{number}",
            "now": "2026-03-02T12:00:00Z",
        }
        request = decode_nudge_request(asked)
        found = nudge.decide(
            request,
            profile=request.profile,
            now=small_policy.NOW,
            decision_id=nudge.keyed_id(request.customer_id, request.decision_key),
        )
        answer = {
            "action": found.action,
            "propensity": found.propensity + 0.01 * broken,
            "propensities": found.propensities,
            "excluded": [{"action": e.action, "rule": e.rule} for e in found.excluded],
        }
        cases.append({"request": asked, "response": answer})
    return cases


def upload(stage, tmp_path, run, *, broken=False, **serving):
    """A run's model and golden requests where a run leaves them; the artefact's folder in S3."""
    folder = small_policy.write(tmp_path / run, **serving)
    artifact.pack(folder, tmp_path / f"{run}.tar.gz")
    prefix = stage.run_prefix(TENANT, run)
    s3 = stage.client("s3")
    s3.upload_file(str(tmp_path / f"{run}.tar.gz"), stage.bucket, f"{prefix}/out/model.tar.gz")
    body = json.dumps(golden(folder, broken=broken)).encode()
    s3.put_object(Bucket=stage.bucket, Key=f"{prefix}/evaluation/golden.json", Body=body)
    return stage.uri(f"{prefix}/out")


def release(stage, run, artifacts, *, mode):
    """One execution of `release-model`, to its end."""
    given = apprentices.release_input(stage, TENANT, run, artifacts=artifacts)
    client = stage.client("stepfunctions")
    arn = client.start_execution(
        stateMachineArn=stage.machine_arn("release-model"),
        input=json.dumps({**given, "mode": mode}),
    )["executionArn"]
    while (found := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(0.2)
    return found


@pytest.fixture(scope="module")
def first(workspace, tmp_path_factory):
    """The first policy: released as an apprentice, where nothing runs yet."""
    stage = workspace.stage
    artifacts = upload(stage, tmp_path_factory.mktemp("first"), FIRST)
    return release(stage, FIRST, artifacts, mode="apprentice")


def ask(workspace, number, **more):
    request = {"customer_id": f"c-{number}", "context": {"age": 20 + number % 50}}
    profile = {"consents": {"email": True}}
    return workspace.decide({**request, "profile": profile, **more}, decision="nudge")


def test_a_first_policy_goes_live_even_as_an_apprentice(first, workspace):
    assert json.loads(first["output"])["outcome"] == "released"
    live = [m for m in workspace.models(kind="nudge-policy") if m.is_live]
    assert [(m.run, m.apprentice) for m in live] == [(FIRST, None)]
    with pytest.raises(ReleaseError, match="--apprentice"):
        workspace.agreement()


def test_the_live_policy_s_draws_are_audited_from_its_answers(first, workspace):
    for number in range(10):
        answer = ask(workspace, number)
        chances = list(answer["propensities"].values())
        drawn = draw(chances, decision_id=answer["decision_id"], salt="salt-1")
        assert list(answer["propensities"])[drawn] == answer["action"]
    assert ask(workspace, 1, decision_key="k") == ask(workspace, 1, decision_key="k")


def test_what_the_lambda_answered_is_in_the_stage_s_table(first, workspace):
    request = {"customer_id": "kept", "decision_key": "k"}
    answer = workspace.decide(request, decision="nudge")
    stage = workspace.stage
    profiles = DynamoProfiles(stage.profiles_table, TENANT, client=stage.client("dynamodb"))
    found = profiles.read("kept")
    assert list(found.answers) == [answer["decision_id"]]
    assert len(found.profile.contacts) == (answer["action"] != "none")
    assert not answer["degraded"]
    assert workspace.decide(request, decision="nudge") == answer


def test_what_the_lambda_answered_is_in_the_archive(first, workspace):
    answer = ask(workspace, 3)
    assert answer["logged"] is True

    def row():
        rows = archived(workspace.stage, "decisions", tenant=TENANT)
        return next((r for r in rows if r["decision_id"] == answer["decision_id"]), None)

    found = eventually(row)
    assert {e["action"]: e["propensity"] for e in found["eligible"]} == answer["propensities"]
    assert (found["action"], found["customer_id"]) == (answer["action"], "c-3")
    assert json.loads(found["context"]) == {"age": 23}


def test_a_bad_request_is_answered_with_its_path(first, workspace):
    error = ask(workspace, 1, time_zone="Mars")["error"]
    assert (error["status"], error["path"]) == (400, "$.time_zone")


def test_a_policy_that_answers_differently_never_goes_live(first, workspace, tmp_path):
    stage = workspace.stage
    artifacts = upload(stage, tmp_path, THIRD, broken=True)
    found = release(stage, THIRD, artifacts, mode="live")
    assert (found["status"], found["error"]) == ("FAILED", "GoldenMismatchError")
    assert [m.run for m in workspace.models(kind="nudge-policy") if m.is_live] == [FIRST]


def test_an_apprentice_watches_is_summed_up_and_promoted(first, workspace, tmp_path):
    stage = workspace.stage
    before = {number: ask(workspace, number, decision_key="same") for number in range(5)}
    artifacts = upload(stage, tmp_path, SECOND, policy="epsilon-greedy", epsilon=0.1)
    outcome = json.loads(release(stage, SECOND, artifacts, mode="apprentice")["output"])
    assert (outcome["outcome"], outcome["run"]) == ("apprentice", SECOND)
    live = releases.require_live(
        workspace.models(kind="nudge-policy"), tenant=TENANT, kind="nudge-policy"
    )
    assert (live.run, live.apprentice) == (FIRST, SECOND)

    answers = [ask(workspace, number) for number in range(40)]
    assert {answer["run"] for answer in answers} == {FIRST}
    again = {number: ask(workspace, number, decision_key="same") for number in range(5)}
    for number, answer in again.items():
        assert answer["propensities"] == before[number]["propensities"]
        assert answer["action"] == before[number]["action"]
    found = workspace.agreement()
    assert (found.run, found.apprentice) == (FIRST, SECOND)
    assert found.compared == 45  # not the golden requests: those are replays
    assert found.failed == 0
    assert 0 < found.rate < 1
    assert 0 < found.overlap < 1

    version = workspace.promote_apprentice()
    live = [m for m in workspace.models(kind="nudge-policy") if m.is_live]
    assert [(m.version, m.run, m.apprentice) for m in live] == [(version, SECOND, None)]
    assert ask(workspace, 1)["run"] == SECOND
    back = workspace.rollback(kind="nudge-policy")
    assert back.from_version == version
