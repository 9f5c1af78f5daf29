"""The demo's nudges on the local stage: log → policy → gate → release, against the known truth."""

import io
import json

from rich.console import Console

from pipelines import stacks
from pipelines.demo import nudges
from pipelines.demo.nudge_tour import tour_nudges
from pipelines.demo.tour import Steps
from pipelines.workspace import Workspace

TENANT = "nudgedemo"


def test_a_policy_learned_from_a_campaign_is_worth_what_its_estimate_says(deployed_stage):
    stacks.add_tenant(deployed_stage, TENANT, progress=lambda line: None)
    workspace = Workspace(deployed_stage, TENANT)
    console = Console(file=io.StringIO(), width=120)
    truth = tour_nudges(workspace, Steps(console), console)
    assert truth.uniform < truth.best_constant < truth.live < truth.oracle
    assert truth.gap_closed > 0.7

    run = workspace.run(workspace.models(kind="nudge-policy")[0].run)
    assert run.view.outcome == "released"
    found = run.metrics()["models"]["challenger"]
    assert found["low"] < truth.live < found["high"]
    assert "the live policy goes" in console.file.getvalue()

    answer = workspace.decide(
        {"customer_id": "c-1", "context": {"device": "app"}, "profile": {}}, decision="nudge"
    )
    assert (answer["action"], answer["propensities"]) == ("none", {"none": 1.0})
    assert {e["rule"] for e in answer["excluded"]} == {"consent"}
    assert len(answer["excluded"]) == len(nudges.NAMES) - 1
    json.dumps(answer, allow_nan=False)
