"""The gate on real logs whose right answer is known, by the jobs and once through the stage."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines import data, schedules, stacks
from pipelines.workspace import Workspace
from tests.unit.training.nudge.jobs import run_jobs

REAL = Path(__file__).resolve().parents[3] / "shared" / "data"
HILLSTROM = REAL / "hillstrom" / "hillstrom.csv.xz"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
GREEDY = {"epsilon": "0"}
WOMENS = {"actions": "none,womens-email", "costs": "womens-email=0.045"}

pytestmark = pytest.mark.skipif(not REAL.exists(), reason="no ../shared/data beside us")


def gated(root, path, **settings):
    dataset = data.read_sources(path, now=NOW)[0]
    return run_jobs(root, dataset=dataset, resamples="100", **settings)


def reasons(found):
    return " | ".join(found["gate"]["reasons"])


@pytest.mark.parametrize("policy", [GREEDY, {}], ids=["greedy", "exploring"])
def test_womens_email_at_four_and_a_half_cents_passes(tmp_path, policy):
    """Reference: .1228 against the best constant's .1065, +.0164 [.0121, .0203]."""
    found = gated(tmp_path, HILLSTROM, **WOMENS, **policy)
    assert found["gate"]["outcome"] == "passed", reasons(found)
    models, uplift = found["metrics"]["models"], found["metrics"]["uplift"]
    assert models["always womens-email"]["value"] == pytest.approx(0.1065, abs=0.0005)
    assert models["challenger"]["value"] > 0.120
    assert uplift["womens-email"]["qini"] > 0.06


def test_mens_email_at_six_cents_is_refused(tmp_path):
    settings = {"actions": "none,mens-email", "costs": "mens-email=0.06", **GREEDY}
    found = gated(tmp_path, HILLSTROM, **settings)
    assert found["gate"]["outcome"] == "refused"
    assert reasons(found).startswith("better than the best constant action (mens-email): it is")


def test_a_policy_of_three_actions_is_no_better_than_mens_email_for_all(tmp_path):
    found = gated(tmp_path, HILLSTROM, **GREEDY)
    assert found["gate"]["outcome"] == "refused"
    assert "better than the best constant action (mens-email)" in reasons(found)
    assert "logging policy" not in reasons(found)


def test_a_log_of_thompson_sampling_says_nothing_about_uniform(tmp_path):
    path = REAL / "open-bandit" / "bts" / "women" / "women.csv.xz"
    found = gated(tmp_path, path, epsilon="1")
    assert found["gate"]["outcome"] == "refused"
    assert "effective sample size: the log is worth 2.1 decisions" in reasons(found)
    assert "largest weight 21,739" in reasons(found)


@pytest.mark.parametrize("campaign", ["women", "men", "all"])
def test_greedy_policies_match_too_few_clicks(tmp_path, campaign):
    path = REAL / "open-bandit" / "random" / campaign / f"{campaign}.csv.xz"
    found = gated(tmp_path, path, **GREEDY)
    assert found["gate"]["outcome"] == "refused"
    assert "matched rewards: " in reasons(found)
    assert found["metrics"]["support"]["matched_rewards"] < 10
    bounds = found["metrics"]["comparisons"]["logging policy"]
    assert bounds["betting_low"] < -0.01 < 0.01 < bounds["betting_high"]


def test_womens_email_through_the_stage(deployed_stage):
    stacks.add_tenant(deployed_stage, "mailer", progress=lambda line: None)
    imported = data.import_datasets(deployed_stage, HILLSTROM, tenant="mailer", format="hillstrom")[
        0
    ]
    assert imported.profile["rows"] == 64_000
    workspace = Workspace(deployed_stage, "mailer")
    run = workspace.train("nudge-policy", **WOMENS, resamples="100").wait(output=None)
    assert run.view.outcome == "released", run.view.reasons
    context = run.golden()[0]["request"]["context"]
    answer = workspace.decide(
        {"customer_id": "c1", "context": context, "decision_key": "spring"}, decision="nudge"
    )
    assert sum(answer["propensities"].values()) == pytest.approx(1.0)
    assert set(answer["propensities"]) == {"none", "womens-email"}
    assert answer["run"] == run.name


def test_a_schedule_trains_a_policy_on_the_newest_log(deployed_stage):
    """By itself, and on the log of nudges where the tenant has interactions too."""
    stacks.add_tenant(deployed_stage, "clock", progress=lambda line: None)
    data.import_datasets(deployed_stage, HILLSTROM, tenant="clock")
    workspace = Workspace(deployed_stage, "clock")
    at = datetime.now(UTC) + timedelta(seconds=3)
    request = workspace.request("nudge-policy", {**WOMENS, "learner": "pooled-linear"})
    schedules.set_schedule(deployed_stage, request, expression=f"at({at:%Y-%m-%dT%H:%M:%S})")
    for _ in range(200):
        if workspace.runs():
            break
        time.sleep(0.2)
    run = workspace.run(workspace.runs()[0].name).wait(output=None)
    assert (run.view.kind, run.view.outcome) == ("nudge-policy", "released")
    schedules.remove_schedule(deployed_stage, "clock", kind="nudge-policy")
