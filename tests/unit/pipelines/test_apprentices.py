"""An apprentice's log lines summed up, its release, and the command that asks for nudges."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from inference.apprentice import Comparison, ComparisonFailure
from pipelines.apprentices import release_input, sum_up
from pipelines.commands.decide_nudge import _profile, _values, render_nudge
from pipelines.configuration import StageConfiguration
from pipelines.errors import DecisionError, ReleaseError, RunError
from pipelines.releases import decision_function
from pipelines.runs import RunRequest, run_parameters
from pipelines.stage import Stage

STAGE = Stage("local", "us-east-1", "000000000000", StageConfiguration())
WHO = {"tenant": "acme", "run": "run-1", "apprentice_run": "run-2", "decision_id": "d"}


def line(action: str, other: str, *, overlap: float = 0.5, **who: str) -> str:
    record = Comparison(
        **{**WHO, **who},
        action=action,
        propensity=0.5,
        apprentice_action=other,
        apprentice_propensity=0.5,
        agrees=action == other,
        overlap=overlap,
    )
    return msgspec.json.encode(record).decode()


def test_agreement_counts_what_both_chose() -> None:
    lines = [
        "START RequestId: 1 Version: 7",
        line("mail", "mail", overlap=0.9),
        line("mail", "none", overlap=0.6),
        f"2026-03-02T12:00:00Z {line('mail', 'mail', overlap=0.6)}",
        line("mail", "mail", run="run-0"),
        line("mail", "mail", apprentice_run="run-3"),
        msgspec.json.encode(ComparisonFailure(**WHO, error="ValueError: x")).decode(),
        '{"event": "apprentice", broken',
        '{"event": "something else about an \\"apprentice"}',
    ]
    found = sum_up(lines, run="run-1", apprentice="run-2")
    assert (found.compared, found.agreed, found.failed) == (3, 2, 1)
    assert found.rate == pytest.approx(2 / 3)
    assert found.overlap == pytest.approx(0.7)
    assert found.choices == {("mail", "mail"): 2, ("mail", "none"): 1}


def test_without_a_decision_there_is_no_rate() -> None:
    found = sum_up([], run="run-1", apprentice="run-2")
    assert (found.rate, found.overlap, found.is_complete) == (None, 0.0, True)


def test_an_apprentice_s_release_is_its_run_s() -> None:
    run = "nudge-policy-20261124t001904-ab12cd"
    found = release_input(STAGE, "acme", run, artifacts="s3://b/out")
    assert found["started_at"] == "2026-11-24T00:19:04Z"
    assert found["golden"].endswith(f"/tenants/acme/runs/{run}/evaluation/golden.json")
    assert (found["mode"], found["artifacts"]) == ("live", "s3://b/out")
    assert found["function"] == "nextbest-local-acme-nudge"


def test_only_a_nudge_policy_can_be_an_apprentice() -> None:
    with pytest.raises(RunError, match="cannot be an apprentice"):
        run_parameters(RunRequest("recommender", "acme", {}, release="apprentice"))
    assert run_parameters(RunRequest("recommender", "acme", {}))["release_mode"] == "live"


def test_an_unknown_kind_of_model_is_named() -> None:
    with pytest.raises(ReleaseError, match="known: recommender, nudge-policy"):
        decision_function(STAGE, "acme", kind="nudge")


def test_context_values_are_numbers_flags_or_text() -> None:
    found = _values(["age=37", "share=.5", "member=true", "zip=007", "list=[1]", "no=", "x=a=b"])
    expected = {"age": 37, "share": ".5", "member": True, "zip": "007", "list": "[1]", "no": ""}
    assert found == {**expected, "x": "a=b"}


@pytest.mark.parametrize("pair", ["age", "=3"])
def test_a_context_without_a_name_is_refused(pair: str) -> None:
    with pytest.raises(DecisionError, match="NAME=VALUE"):
        _values([pair])


def test_a_profile_is_a_file_and_consents(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"consents": {"sms": False}, "attributes": {"tier": "gold"}}))
    assert _profile(None, []) is None
    assert _profile(None, ["email"]) == {"consents": {"email": True}}
    found = _profile(path, ["email"])
    assert found == {"consents": {"sms": False, "email": True}, "attributes": {"tier": "gold"}}
    for text in ("{", "[1]"):
        path.write_text(text)
        with pytest.raises(DecisionError, match=r"profile\.json"):
            _profile(path, [])


def test_an_answer_shows_chances_and_exclusions() -> None:
    answer: dict[str, Any] = {
        "action": "[mail]",
        "propensities": {"[mail]": 0.75, "none": 0.25},
        "values": {"[mail]": 1.5},
        "excluded": [{"action": "push", "rule": "consent", "detail": "no consent to push"}],
    }
    out = Console(file=io.StringIO(), width=100)
    out.print(render_nudge(answer))
    shown = out.file.getvalue()  # type: ignore[attr-defined]
    for part in ("[mail]", "0.7500", "1.5000", "consent: no consent to push"):
        assert part in shown
