"""The machines as rendered: byte-stable, complete, and with every way out."""

import json
from pathlib import Path

import pytest

from inference.errors import NextbestError
from inference.sync_commit import SyncChangedError
from pipelines import errors as pipelines_errors
from state_machines.jobs import SYNC_CHANNELS
from state_machines.render import as_json, machines
from state_machines.train_model import RETRYABLE
from training import errors as training_errors

GOLDEN = Path(__file__).parent / "golden"
MACHINES = machines()


@pytest.mark.parametrize("name", MACHINES)
def test_rendering_gives_the_golden_bytes(name):
    assert as_json(MACHINES[name]) == (GOLDEN / f"{name}.json").read_text(), (
        "changed? python -m state_machines.render"
    )


def test_rendering_twice_gives_the_same():
    assert machines() == MACHINES


@pytest.mark.parametrize("name", MACHINES)
def test_every_task_has_a_timeout_retry_and_catch(name):
    tasks = {k: s for k, s in MACHINES[name]["States"].items() if s["Type"] == "Task"}
    assert tasks
    for key, state in tasks.items():
        assert {"TimeoutSeconds", "Retry", "Catch"} <= set(state), key


@pytest.mark.parametrize("name", MACHINES)
def test_every_state_is_reached_and_every_next_exists(name):
    definition = MACHINES[name]
    targets = {definition["StartAt"]}
    for state in definition["States"].values():
        targets |= {state["Next"]} if "Next" in state else set()
        targets |= {c["Next"] for c in [*state.get("Catch", []), *state.get("Choices", [])]}
        targets |= {state["Default"]} if state["Type"] == "Choice" else set()
    assert targets == set(definition["States"])


def test_data_errors_are_never_retried():
    own = [cls.__name__ for cls in _subclasses(NextbestError)]
    assert {"DataQualityError", "NotEnoughDataError"} <= set(own)
    for mark in RETRYABLE:
        assert not any(mark.strip("*") in f"AlgorithmError: {n}: x, exit code: 1" for n in own)
    assert training_errors.DataQualityError.__name__ in own
    assert pipelines_errors.ReleaseError.__name__ in own


def _subclasses(cls):
    return [cls, *[found for sub in cls.__subclasses__() for found in _subclasses(sub)]]


def test_a_retraining_syncs_first_where_anything_is_due():
    states = MACHINES["retrain"]["States"]
    assert states["PlanSync"]["Next"] == "IsDue"
    assert states["IsDue"]["Default"] == "Sync"
    assert states["IsDue"]["Choices"][0]["Next"] == states["CommitSync"]["Next"] == "ReadDataset"
    caught = states["CommitSync"]["Catch"][0]
    assert (caught["ErrorEquals"], caught["Next"]) == ([SyncChangedError.__name__], "ReadDataset")


def test_the_job_of_a_sync_has_the_channels_and_outputs_of_a_plan():
    parameters = MACHINES["retrain"]["States"]["Sync"]["Parameters"]
    inputs = {i["InputName"]: i["S3Input"] for i in parameters["ProcessingInputs"]}
    assert {*inputs} == {*SYNC_CHANNELS, "code"}
    kinds = {name: given["S3DataType"] for name, given in inputs.items()}
    assert kinds.pop("archive") == "ManifestFile"
    assert {*kinds.values()} == {"S3Prefix"}
    outputs = parameters["ProcessingOutputConfig"]["Outputs"]
    assert [o["S3Output"]["S3Uri.$"] for o in outputs] == [
        f"$.sync.plan.outputs.{name}" for name in ("sync", "interactions", "nudges")
    ]


def test_every_job_is_tagged_with_tenant_run_and_stage():
    states = MACHINES["train-recommender"]["States"]
    for name in ("Prepare", "Train", "Tune", "Evaluate"):
        keys = {tag["Key"] for tag in states[name]["Parameters"]["Tags"]}
        assert keys == {"nextbest:tenant", "nextbest:run", "nextbest:stage"}
        assert "attempts" in json.dumps(states[name]["Parameters"])


def test_a_recommender_is_prepared_with_the_live_image_model_or_with_none():
    states = MACHINES["train-recommender"]["States"]
    read, none = states["ReadImages"], states["NoImages"]
    assert states["HasReleaseMode"]["Choices"][0]["Next"] == "ReadSuppression"
    assert states["Suppression"]["Next"] == states["NoSuppression"]["Next"] == "ReadImages"
    assert read["Catch"][0]["Next"] == "NoImages"
    assert read["Next"] == none["Next"] == "Prepare"
    assert read["ResultPath"] == none["ResultPath"] == "$.images"
    inputs = {i["InputName"]: i for i in states["Prepare"]["Parameters"]["ProcessingInputs"]}
    assert inputs["images"]["S3Input"]["S3Uri.$"] == "$.images.artifacts"
    assert "ReadImages" not in MACHINES["train-nudge-policy"]["States"]


@pytest.mark.parametrize("kind", ["recommender", "nudge-policy"])
def test_what_learns_from_customers_is_told_who_was_erased(kind):
    states = MACHINES[f"train-{kind}"]["States"]
    assert states["ReleaseLive"]["Next"] == "ReadSuppression"
    any_suppressed = states["AnySuppressed"]
    assert any_suppressed["Choices"][0]["Next"] == "Suppression"
    assert any_suppressed["Default"] == "NoSuppression"
    inputs = {i["InputName"]: i for i in states["Prepare"]["Parameters"]["ProcessingInputs"]}
    assert inputs["suppression"]["S3Input"]["S3Uri.$"] == "$.suppression.artifacts"
    assert {c["Next"] for c in states["ReadSuppression"]["Catch"]} == {"NotifyFailed"}
