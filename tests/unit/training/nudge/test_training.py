"""The three jobs under the container contract: a policy learned, valued, gated, and served."""

import json
import os
import uuid
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from inference.nudge import Nudge
from inference.nudge_service import NudgeService
from inference.policy import Policy
from tests.unit.training.nudge.jobs import job, moved, run_jobs
from tests.unit.training.nudge.simulator import NOW, nudges_table
from training.errors import ConfigurationError, NotEnoughDataError
from training.nudge import evaluate, policies, prepare, train
from training.nudge.champion import champion_probabilities
from training.nudge.configuration import NudgeConfiguration
from training.nudge.selection import candidates, choose, simplest
from training.nudge.tables import build_nudge_dataset


def built(nudges):
    return build_nudge_dataset({"nudges": nudges}, now=NOW)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("run")


@pytest.fixture(scope="module")
def done(root):
    return run_jobs(root, dataset=built(nudges_table()), resamples="100")


def test_a_policy_that_helps_passes_and_the_report_says_by_how_much(done):
    assert done["gate"]["outcome"] == "passed", done["gate"]["reasons"]
    models = done["metrics"]["models"]
    assert models["challenger"]["low"] > models["logging policy"]["value"]
    assert set(done["metrics"]["estimates"]) >= {"direct", "ips", "snips", "dr", "switch_dr"}
    names = [check["name"] for check in done["gate"]["checks"]]
    assert names[:4] == ["effective sample size", "matched rewards", "support", "propensities"]
    assert names[4] == "better than the logging policy"
    assert names[5].startswith("better than the best constant action (")
    assert done["metrics"]["uplift"]["push"]["qini"] > 0.2


def test_a_log_whose_propensities_cannot_be_true_is_refused(tmp_path):
    """Regression: all written as 1, where three actions were drawn alike; it was released."""
    found = run_jobs(tmp_path, dataset=built(nudges_table().assign(propensity=1.0)), resamples="50")
    assert found["gate"]["outcome"] == "refused"
    told = [reason for reason in found["gate"]["reasons"] if reason.startswith("propensities: ")]
    assert "off by 0." in told[0]
    assert "(importance weights average 0.3" in told[0]


def test_calibration_is_reported_on_unseen_decisions(done):
    found = done["metrics"]["calibration"]
    assert found["slope"] == pytest.approx(1.0, abs=0.15)
    assert sum(b["decisions"] for b in found["bins"]) == 3000


def test_golden_requests_are_answered_by_what_serves(root, done):
    policy = Policy.open(root / "model")
    service = NudgeService(Nudge(policy, tenant="acme"), run="r", version="1", log=lambda _: None)
    now = datetime.fromisoformat("2031-01-01T00:00:00+00:00")
    assert len(done["golden"]) >= 6
    for case in done["golden"]:
        answer = service.answer(case["request"], now=now, decision_id=uuid.uuid4().hex)
        for name, value in case["response"].items():
            assert json.loads(json.dumps(answer[name])) == value


def test_each_part_of_the_log_is_valued_by_a_policy_that_never_saw_it(root, done):
    folds = list((root / "output" / "data" / "folds").iterdir())
    assert len(folds) == 5
    whole = prepare.load(root / "processing" / "input" / "prepared")
    for folder in folds:
        manifest = Policy.open(folder).manifest
        held_out = int((whole.folds == manifest["fold"]).sum())
        assert manifest["data"]["decisions"] == len(whole) - held_out


def test_the_same_again_is_the_same_bits(root, done, tmp_path):
    again = run_jobs(tmp_path, dataset=built(nudges_table()), resamples="100")
    for path in sorted((root / "model").iterdir()):
        assert path.read_bytes() == (tmp_path / "model" / path.name).read_bytes(), path.name
    assert again == done


def test_nothing_to_gain_is_refused_in_words(tmp_path):
    found = run_jobs(tmp_path, dataset=built(nudges_table(effect=0.0)), resamples="100")
    assert found["gate"]["outcome"] == "refused"
    assert "per decision against it" in " ".join(found["gate"]["reasons"])


def test_an_interrupted_training_takes_up_its_choice(root, done, tmp_path, capsys):
    moved(root / "processing" / "input" / "prepared", tmp_path / "processing/input/prepared")
    moved(root / "checkpoints", tmp_path / "checkpoints")
    train.run(job(tmp_path, "train", resamples="100"))
    assert "resumed from a checkpoint" in capsys.readouterr().out
    for path in sorted((root / "model").iterdir()):
        assert path.read_bytes() == (tmp_path / "model" / path.name).read_bytes()


def test_too_few_customers_for_folds(tmp_path):
    table = nudges_table(count=300).assign(customer_id="one")
    with pytest.raises(NotEnoughDataError, match="the smallest holds 0"):
        run_jobs(tmp_path, dataset=built(table))


@pytest.mark.parametrize("policy", ["softmax", "thompson"])
def test_every_policy_is_learned_and_sums_to_one(tmp_path, policy):
    settings = {"learner": "pooled-linear", "bootstrap_models": "10", "resamples": "50"}
    found = run_jobs(
        tmp_path, dataset=built(nudges_table()), policy=policy, exploration_floor="0.06", **settings
    )
    assert found["metrics"]["models"]["challenger"]["value"] > 0.3
    whole = prepare.load(tmp_path / "processing" / "input" / "prepared")
    drawn = Policy.open(tmp_path / "model").distribution(whole.contexts)
    np.testing.assert_allclose(drawn.sum(axis=1), 1.0)
    assert drawn.min() >= 0.02 - 1e-12
    if policy == "softmax":
        best = (drawn.max(axis=1) - 0.02) / 0.94
        assert best.mean() == pytest.approx(0.9, abs=0.01)


def test_batch_and_single_probabilities_are_the_same(root, done):
    whole = prepare.load(root / "processing" / "input" / "prepared")
    policy = Policy.open(root / "model")
    many = policy.distribution(whole.contexts[:50])
    for row in range(50):
        np.testing.assert_allclose(policy.distribution(whole.contexts[row]), many[row])


def test_a_champion_is_compared_on_decisions_it_has_not_seen(root, done, tmp_path):
    newer = nudges_table(seed=1)
    newer["decision_id"] = "n" + newer["decision_id"]
    newer["timestamp"] += (newer["timestamp"].max() - newer["timestamp"].min()) * 1.01
    newer["context_device"] = newer["context_device"].replace("web", "watch")
    found = run_jobs(tmp_path, dataset=built(newer), champion=root, resamples="100")
    assert found["metrics"]["protocol"]["champion"].startswith("on the 3,000 decisions")
    assert "champion" in found["metrics"]["comparisons"]
    last = found["gate"]["checks"][-1]
    assert (last["name"], last["passed"]) == ("not worse than the champion", True)


def test_a_champion_that_saw_everything_is_left_out(root, done):
    whole = prepare.load(root / "processing" / "input" / "prepared")
    found = champion_probabilities(Policy.open(root / "model"), whole)
    assert found.rows is None
    assert "decisions since it was trained" in found.note


def test_thompson_and_trees_do_not_go_together():
    settings = NudgeConfiguration(learner="boosted-trees", policy="thompson")
    with pytest.raises(ConfigurationError, match="does not go with policy=thompson"):
        candidates(settings, action_count=3)


def test_a_new_action_is_explored_and_never_preferred(tmp_path):
    dataset = build_nudge_dataset({"nudges": nudges_table()}, now=NOW)
    spec = type(dataset.actions[0])("brand-new", cost=0.01)
    dataset = replace(dataset, actions=(spec, *dataset.actions))
    settings = NudgeConfiguration(learner="pooled-linear", epsilon=0.2)
    found = prepare.prepare(dataset, settings)
    chosen = choose(found, settings, report=lambda trial: None).overall
    built = policies.build(found, chosen, settings, salt="s", provenance={})
    drawn = Policy(built).distribution(found.contexts)
    np.testing.assert_allclose(drawn[:, found.names.index("brand-new")], 0.05)


def test_the_simplest_family_wins_unless_beaten_by_more_than_chance():
    generator = np.random.default_rng(0)
    base = generator.random(1000)
    clearly = np.stack([base, base - 0.1, base - 0.2], axis=1)
    noise = np.stack([base, base + generator.normal(size=1000), base + 0.01], axis=1)
    families = [0, 1, 2]
    assert simplest(clearly, families) == 2
    assert simplest(noise, families) == 0
    assert simplest(noise, [0, 0, 1]) == int(noise[:, :2].mean(axis=0).argmin())
    assert simplest(clearly, [0, 1, 1]) == 2


def test_an_empty_model_channel_is_an_error(root, done, tmp_path):
    moved(root / "processing" / "input" / "prepared", tmp_path / "processing/input/prepared")
    with pytest.raises(Exception, match=r"no model\.tar\.gz"):
        evaluate.run(job(tmp_path, "evaluate"))
    assert os.listdir(tmp_path)
