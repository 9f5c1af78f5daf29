"""From data to decisions on the local stage, and what happens when things break in the middle."""

import json
import time
from datetime import UTC, datetime, timedelta

import psutil
import pytest

from pipelines import data, decisions, runs, schedules, stacks
from pipelines.demo.shop import write_shop
from pipelines.errors import DecisionError, RunError, TenantError
from pipelines.local import cloud
from pipelines.stage import open_stage
from pipelines.workspace import Run, Workspace

QUICK = {"tuning_customers": "50", "evaluation_customers": "100"}


@pytest.fixture(scope="module")
def shop_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    write_shop(folder, customers=300)
    return folder


@pytest.fixture(scope="module")
def workspace(deployed_stage, shop_folder):
    stacks.add_tenant(deployed_stage, "acme", progress=lambda line: None)
    data.import_datasets(deployed_stage, shop_folder, tenant="acme")
    return Workspace(deployed_stage, "acme")


@pytest.fixture(scope="module")
def released(workspace):
    return workspace.train(**QUICK).wait(output=None)


def job_process(run):
    """The process of the run's training job."""
    for _ in range(600):
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if run.name in words and "nextbest_job.py" in words:
                return process
        time.sleep(0.02)
    raise AssertionError("no training process")


def test_a_second_deploy_changes_nothing(deployed_stage):
    assert stacks.plan_all(deployed_stage) == []
    assert not stacks.deploy(deployed_stage, progress=lambda line: None)


def test_an_unknown_tenant_is_refused(deployed_stage):
    with pytest.raises(TenantError, match="nextbest tenant add nobody"):
        stacks.require_tenant(deployed_stage, "nobody")
    with pytest.raises(DecisionError, match="nextbest tenant add nobody"):
        decisions.decide(deployed_stage, "nobody", {})


def test_a_run_releases_a_model_that_beats_popularity(released, workspace):
    models = released.metrics()["models"]
    assert models["challenger"]["ndcg@10"] > models["popularity"]["ndcg@10"]
    assert [m.run for m in workspace.models() if m.is_live] == [released.name]
    packages = workspace.stage.client("sagemaker").list_model_packages(
        ModelPackageGroupName=workspace.stage.model_group("acme", "recommender")
    )
    assert len(packages["ModelPackageSummaryList"]) >= 1


def test_decisions_have_exact_reasons(released, workspace):
    history = released.golden()[0]["request"]["history"]
    answer = workspace.decide({"history": history, "limit": 5})
    assert len(answer["products"]) == 5
    for product in answer["products"]:
        total = sum(reason["contribution"] for reason in product["reasons"])
        assert total == pytest.approx(product["score"], rel=1e-9)


def test_a_decision_leaves_one_line_that_tells_on_nobody(released, workspace):
    answer = workspace.decide({"customer_id": "customer-4711", "history": ["secret-product"]})
    group = f"/aws/lambda/{workspace.stage.function('acme', 'next-best-product')}"
    events = workspace.stage.client("logs").filter_log_events(logGroupName=group)["events"]
    lines = [event["message"] for event in events if answer["decision_id"] in event["message"]]
    assert len(lines) == 1
    line = json.loads(lines[0])
    assert (line["run"], line["tenant"], line["stage"]) == (released.name, "acme", "local")
    assert line["request_id"]
    assert line["unknown_products"] == 1
    assert not [event for event in events if "4711" in event["message"]]
    assert not [event for event in events if "secret-product" in event["message"]]


@pytest.mark.parametrize(
    ("request_", "path"),
    [({"limit": 0}, "$.limit"), ({"history": [{}]}, "$.history[0]"), ({"x": 1}, "$"), ([], "$")],
)
def test_bad_requests_are_answered(released, workspace, request_, path):
    error = workspace.decide(request_)["error"]
    assert (error["status"], error["path"]) == (400, path)


def test_strangers_get_the_trend(released, workspace):
    answer = workspace.decide({"history": ["no such thing"], "limit": 3})
    assert answer["fallback"] == "trend"
    assert answer["unknown_products"] == ["no such thing"]


def test_a_killed_training_process_is_replaced_and_the_run_succeeds(workspace):
    run = workspace.train(**QUICK)
    job_process(run).kill()
    run.wait(output=None)
    jobs = {job.name.removeprefix(f"{run.name}-"): job.status for job in run.view.jobs}
    assert jobs["train-0"] == "Failed"
    assert jobs["train-1"] == "Completed"


def test_a_run_killed_for_good_fails_readably_and_live_stays(workspace, released):
    before = [m.version for m in workspace.models() if m.is_live]
    run = workspace.train(**QUICK)
    for _ in range(3):
        process = job_process(run)
        process.kill()
        psutil.wait_procs([process], timeout=5)
    with pytest.raises(RunError, match="exit code: 137"):
        run.wait(output=None)
    assert [m.version for m in workspace.models() if m.is_live] == before


def test_a_stopped_run_stops_its_job_and_is_not_retried(workspace):
    run = workspace.train(**QUICK)
    process = job_process(run)
    run.stop()
    psutil.wait_procs([process], timeout=10)
    time.sleep(1)
    view = run.view
    assert (view.status, view.summary) == ("ABORTED", "stopped")
    assert [job.status for job in view.jobs if "train" in job.name] == ["Stopped"]


def test_a_run_stopped_while_it_releases_does_not_go_live(workspace, released):
    before = [m.version for m in workspace.models() if m.is_live]
    run = workspace.train(**QUICK)
    for view in run.watch():
        if view.states and view.states[-1].name == "Release":
            break
    run.stop()
    time.sleep(8)
    assert run.view.summary == "stopped"
    assert [m.version for m in workspace.models() if m.is_live] == before


def test_a_refusal_is_a_normal_end_with_reasons(workspace, released):
    before = [m.version for m in workspace.models() if m.is_live]
    run = workspace.train(**QUICK, gate_margin="0.9").wait(output=None)
    assert run.view.outcome == "refused"
    assert "better than popularity" in run.view.reasons[0]
    assert [m.version for m in workspace.models() if m.is_live] == before


def test_two_runs_at_once_end_on_the_newer(workspace):
    first = workspace.train(**QUICK)
    time.sleep(1.1)
    second = workspace.train(**QUICK)
    outcomes = [run.wait(output=None).view.outcome for run in (first, second)]
    assert outcomes[1] == "released"
    assert [m.run for m in workspace.models() if m.is_live] == [second.name]


def test_an_older_run_that_ends_last_is_superseded(workspace):
    """Regression: the emulator took the rule that tells the newer one for false, always."""
    stage = workspace.stage
    older = "2000-01-01T00:00:00Z"
    live = next(model for model in workspace.models() if model.is_live)
    artifacts = live.model.removesuffix("/model.tar.gz")
    client = stage.client("stepfunctions")
    started = client.start_execution(
        stateMachineArn=stage.machine_arn("release-model"),
        input=json.dumps(
            {
                "tenant": "acme",
                "kind": "recommender",
                "run": "older",
                "started_at": older,
                "function": stage.function("acme", "next-best-product"),
                "artifacts": artifacts,
                "golden": stage.uri(f"{stage.run_prefix('acme', live.run)}/evaluation/golden.json"),
            }
        ),
    )["executionArn"]
    while (found := client.describe_execution(executionArn=started))["status"] == "RUNNING":
        time.sleep(0.2)
    assert json.loads(found["output"])["outcome"] == "superseded"
    assert next(m.version for m in workspace.models() if m.is_live) == live.version


def test_going_back_is_one_update(workspace):
    versions = [m.version for m in workspace.models()]
    done = workspace.rollback()
    assert done.to_version == versions[versions.index(done.from_version) + 1]
    assert [m.version for m in workspace.models() if m.is_live] == [done.to_version]


@pytest.mark.parametrize("broken", ["golden", "model"])
def test_a_model_that_is_not_itself_never_goes_live(workspace, released, broken):
    stage = workspace.stage
    before = [m.version for m in workspace.models() if m.is_live]
    artifacts = f"{stage.run_prefix('acme', released.name)}/broken-{broken}"
    golden = released.golden()
    golden[0]["response"]["products"].reverse()
    s3 = stage.client("s3")
    model = workspace.models()[-1].model.removeprefix(f"s3://{stage.bucket}/")
    body = s3.get_object(Bucket=stage.bucket, Key=model)["Body"].read()
    body = body[: len(body) // 2] if broken == "model" else body
    s3.put_object(Bucket=stage.bucket, Key=f"{artifacts}/model.tar.gz", Body=body)
    s3.put_object(Bucket=stage.bucket, Key=f"{artifacts}/golden.json", Body=json.dumps(golden))
    client = stage.client("stepfunctions")
    started = client.start_execution(
        stateMachineArn=stage.machine_arn("release-model"),
        input=json.dumps(
            {
                "tenant": "acme",
                "kind": "recommender",
                "run": f"broken-{broken}",
                "started_at": "2099-01-01T00:00:00Z",
                "function": stage.function("acme", "next-best-product"),
                "artifacts": stage.uri(artifacts),
                "golden": stage.uri(f"{artifacts}/golden.json"),
            }
        ),
    )["executionArn"]
    while (found := client.describe_execution(executionArn=started))["status"] == "RUNNING":
        time.sleep(0.2)
    assert (found["status"], found["error"]) == ("FAILED", "GoldenMismatchError")
    assert [m.version for m in workspace.models() if m.is_live] == before


def scheduled(workspace):
    """The tenant's schedules: other tenants of the stage have their own."""
    found = schedules.list_schedules(workspace.stage)
    return [one for one in found if one.tenant == workspace.tenant]


def test_a_schedule_starts_a_run_by_itself(workspace):
    known = {view.name for view in workspace.runs()}
    at = datetime.now(UTC) + timedelta(seconds=3)
    request = workspace.request("recommender", QUICK)
    schedules.set_schedule(workspace.stage, request, expression=f"at({at:%Y-%m-%dT%H:%M:%S})")
    assert [s.kind for s in scheduled(workspace)] == ["recommender"]
    new: set[str] = set()
    for _ in range(200):
        new = {view.name for view in workspace.runs()} - known
        if new:
            break
        time.sleep(0.2)
    assert workspace.run(new.pop()).wait(output=None).view.outcome == "released"
    schedules.remove_schedule(workspace.stage, "acme", kind="recommender")
    assert scheduled(workspace) == []


def test_a_stage_stopped_in_the_middle_interrupts_the_run(tmp_path, shop_folder):
    stage = open_stage("local", root=tmp_path)
    try:
        stacks.deploy(stage, progress=lambda line: None)
        stacks.add_tenant(stage, "acme", progress=lambda line: None)
        data.import_datasets(stage, shop_folder, tenant="acme")
        run = Workspace(stage, "acme", root=tmp_path).train(**QUICK)
        process = job_process(run)
        cloud.down(tmp_path)
        assert not process.is_running()
        stage = open_stage("local", root=tmp_path)
        view = runs.show_run(stage, run.name)
        assert view.summary == "interrupted"
        with pytest.raises(DecisionError, match="no live version"):
            decisions.decide(stage, "acme", {})
        again = Run(stage, runs.retry_run(stage, run.name)).wait(output=None)
        assert again.view.outcome == "released"
    finally:
        cloud.down(tmp_path)
