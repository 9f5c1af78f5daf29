"""The simulated audience: its truth is the truth of what it simulates."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from inference.policy import parameters_of
from pipelines.demo import nudges
from pipelines.demo.nudges import COSTS, NAMES

AUDIENCE = nudges.simulate_audience(customers=6000)
LOG = nudges.log_uniformly(AUDIENCE)


def test_the_same_seed_gives_the_same_audience_and_log() -> None:
    again = nudges.simulate_audience(customers=6000)
    pd.testing.assert_frame_equal(nudges.log_uniformly(again), LOG)
    other = nudges.simulate_audience(customers=6000, seed=1)
    assert not np.array_equal(other.sale, AUDIENCE.sale)


def test_rewards_follow_the_stated_truth() -> None:
    """Every customer asked a hundred times: the mean reward is the expected one."""
    rng = np.random.default_rng(0)
    for action in range(len(NAMES)):
        chosen = np.full(6000, action)
        seen = np.mean([nudges.react(AUDIENCE, chosen, rng).mean() for _ in range(100)])
        assert abs(seen - AUDIENCE.expected[:, action].mean()) < 4 * 0.5 / math.sqrt(600_000)


def test_the_campaign_s_log_estimates_the_truth() -> None:
    """Weighing the log by its propensities gives every policy's true value, within its error."""
    drawn = LOG["action"].map(NAMES.index).to_numpy()
    rows = np.arange(len(LOG))
    gained = LOG["reward"].to_numpy() - COSTS[drawn]
    for policy in (nudges.uniform(AUDIENCE), nudges.oracle(AUDIENCE)):
        terms = policy[rows, drawn] / LOG["propensity"].to_numpy() * gained
        error = terms.std() / math.sqrt(len(terms))
        assert abs(terms.mean() - nudges.true_value(AUDIENCE, policy)) < 4 * error


def test_only_eligible_actions_were_drawn_with_even_chances() -> None:
    listed = LOG["eligible"].str.split("|")
    assert all(action in can for action, can in zip(LOG["action"], listed, strict=True))
    assert (1 / LOG["propensity"]).round(9).tolist() == listed.map(len).tolist()
    drawn = LOG["action"].map(NAMES.index).to_numpy()
    assert AUDIENCE.eligible[np.arange(len(LOG)), drawn].all()


def test_customers_differ_and_some_are_annoyed() -> None:
    best = nudges.oracle(AUDIENCE).mean(axis=0)
    assert (best > 0.1).all()
    mail = NAMES.index("reminder-mail")
    assert 0.2 < (AUDIENCE.expected[:, mail] < AUDIENCE.expected[:, 0]).mean() < 0.6
    assert AUDIENCE.unsubscribe[:, mail].max() > 0.5
    assert AUDIENCE.unsubscribe[:, 0].max() == 0


def test_personal_beats_constant_beats_none_in_truth() -> None:
    value = {name: nudges.true_value(AUDIENCE, nudges.constant(AUDIENCE, name)) for name in NAMES}
    best = nudges.best_constant(AUDIENCE)
    oracle = nudges.true_value(AUDIENCE, nudges.oracle(AUDIENCE))
    assert value[best] == max(value.values()) > value["none"]
    assert oracle > value[best] + 0.05


@pytest.mark.parametrize("policy", [nudges.uniform, nudges.oracle])
def test_policies_are_probabilities_over_the_eligible(policy: object) -> None:
    found = policy(AUDIENCE)  # type: ignore[operator]
    assert np.allclose(found.sum(axis=1), 1)
    assert not found[~AUDIENCE.eligible].any()


def test_the_written_folder_holds_what_a_policy_needs(tmp_path: Path) -> None:
    nudges.write_nudges(tmp_path, customers=50)
    assert {path.name for path in tmp_path.iterdir()} == {
        "nudges.parquet",
        "actions.parquet",
        "guardrails.json",
    }
    actions = [dict(action) for action in nudges.ACTIONS]
    serving = {"policy": "softmax", "actions": actions, "features": []}
    found = parameters_of({**serving, "guardrails": nudges.GUARDRAILS})
    assert [spec.action for spec in found.actions] == list(NAMES)


def test_a_request_tells_what_the_shop_knows() -> None:
    missing = int(np.flatnonzero(AUDIENCE.context["age"].isna())[0])
    assert "age" not in nudges.context_of(AUDIENCE, missing)
    assert "device" in nudges.context_of(AUDIENCE, missing)
    consents = nudges.profile_of(AUDIENCE, missing)["consents"]
    assert set(consents) == {"email", "push"}
