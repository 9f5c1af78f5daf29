"""Values → probabilities → a draw: known by construction, single equal to batch, repeatable."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.artifact import Artifact
from inference.errors import ArtifactError
from inference.policy import Policy, draw, parameters_of, uniform
from tests.unit.inference import small_policy

POLICIES: list[dict[str, Any]] = [
    {"policy": "softmax"},
    {"policy": "softmax", "temperature": 1e-9, "exploration_floor": 0.0},
    {"policy": "softmax", "link": "logistic", "reward_worth": 3.0},
    {"policy": "epsilon-greedy", "epsilon": 0.2},
    {"policy": "thompson"},
]
CONTEXT = {"age": 50, "spend": 7.0, "device": "web"}
masks = st.lists(st.booleans(), min_size=3, max_size=3).filter(any)
contexts = st.fixed_dictionaries(
    {},
    optional={
        "age": st.none() | st.integers(-(10**6), 10**6),
        "spend": st.none() | st.floats(allow_nan=False),
        "device": st.none() | st.sampled_from(["app", "web", "tv"]) | st.booleans(),
    },
)


def test_values_are_worth_times_reward_less_cost() -> None:
    policy = small_policy.policy(reward_worth=2.0)
    x = policy.encode(CONTEXT)
    assert x.tolist() == [1.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    expected = [2 * (0.5 + 0.2 + 0.3) - 0.1, 2 * (0.1 + 0.2), 2 * 0.1]
    assert policy.values(x) == pytest.approx(expected, abs=1e-6)


def test_a_logistic_link_makes_probabilities_of_the_scores() -> None:
    policy = small_policy.policy(link="logistic")
    rewards = policy.rewards(policy.encode(CONTEXT))
    assert rewards == pytest.approx([1 / (1 + math.exp(-s)) for s in (1.0, 0.3, 0.1)], abs=1e-6)


def test_softmax_follows_its_formula_over_the_eligible() -> None:
    policy = small_policy.policy(exploration_floor=0.1)
    values = np.array([0.3, 0.9, -0.2])
    found = policy.probabilities(values, eligible=np.array([True, False, True]))
    weight = 1 / (1 + math.exp((-0.2 - 0.3) / 0.5))
    assert found == pytest.approx([0.9 * weight + 0.05, 0.0, 0.9 * (1 - weight) + 0.05])


def test_epsilon_greedy_spreads_epsilon_evenly() -> None:
    policy = small_policy.policy(policy="epsilon-greedy", epsilon=0.3, exploration_floor=0.0)
    found = policy.probabilities(np.array([0.0, 2.0, 1.0]), eligible=np.ones(3, dtype=bool))
    assert found == pytest.approx([0.1, 0.8, 0.1])


def test_thompson_is_the_share_of_bootstrap_models_that_prefer_an_action() -> None:
    policy = small_policy.policy(policy="thompson", exploration_floor=0.0)
    x = policy.encode(CONTEXT)
    values = policy.bootstrap_values(x)
    assert values is not None
    wins = [sum(max(range(3), key=lambda a: v[a]) == a for v in values) for a in range(3)]
    assert policy.distribution(x) == pytest.approx([w / 50 for w in wins])
    assert 0 < wins[0] < 50


@pytest.mark.parametrize("serving", POLICIES)
@settings(max_examples=60, deadline=None)
@given(rows=st.lists(contexts, min_size=1, max_size=6), mask=masks)
def test_one_decision_equals_the_batch(
    serving: dict[str, Any], rows: list[dict[str, Any]], mask: list[bool]
) -> None:
    policy = small_policy.policy(**serving)
    columns = {name: [row.get(name) for row in rows] for name in ("age", "spend", "device")}
    x = policy.encoder.encode_columns(columns, len(rows))
    batch = policy.distribution(x, eligible=np.array(mask))
    eligible = [index for index, is_eligible in enumerate(mask) if is_eligible]
    for row, in_batch, encoded in zip(rows, batch, x, strict=True):
        assert policy.encode(row) == pytest.approx(encoded, rel=1e-12)
        single = policy.weigh(policy.encode(row), eligible)[1]
        assert single == pytest.approx(in_batch[eligible], rel=1e-9, abs=1e-12)
        assert in_batch[~np.array(mask)].sum() == 0


@pytest.mark.parametrize("serving", POLICIES)
@settings(max_examples=60, deadline=None)
@given(context=contexts, mask=masks)
def test_probabilities_sum_to_one_and_keep_the_floor(
    serving: dict[str, Any], context: dict[str, Any], mask: list[bool]
) -> None:
    policy = small_policy.policy(**serving)
    eligible = [index for index, is_eligible in enumerate(mask) if is_eligible]
    found = policy.weigh(policy.encode(context), eligible)[1]
    floor = policy.parameters.exploration_floor
    assert math.fsum(found) == pytest.approx(1.0, abs=1e-12)
    assert min(found) >= floor / len(eligible) - 1e-15


def test_nothing_eligible_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one eligible"):
        small_policy.policy().distribution(np.zeros(6), eligible=np.zeros(3, dtype=bool))


def test_the_uniform_number_is_the_documented_sha256() -> None:
    digest = hashlib.sha256(b"salt-1\0decision-9").digest()
    assert uniform("salt-1", "decision-9") == (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def test_draws_are_repeatable_and_depend_on_id_and_salt() -> None:
    ids = [f"decision-{n}" for n in range(200)]
    drawn = [draw([0.5, 0.5], decision_id=i, salt="a") for i in ids]
    assert drawn == [draw([0.5, 0.5], decision_id=i, salt="a") for i in ids]
    assert drawn != [draw([0.5, 0.5], decision_id=i, salt="b") for i in ids]


def test_frequencies_match_propensities() -> None:
    probabilities, count = [0.62, 0.03, 0.0, 0.35], 20_000
    drawn = [draw(probabilities, decision_id=str(n), salt="s") for n in range(count)]
    seen = np.bincount(drawn, minlength=4)
    assert seen[2] == 0
    positive = np.array(probabilities) > 0
    expected = count * np.array(probabilities)[positive]
    chi_square = ((seen[positive] - expected) ** 2 / expected).sum()
    assert chi_square < 13.8  # 99.9th percentile, 2 degrees of freedom


def test_rounding_never_draws_an_impossible_action() -> None:
    short = [0.0, 1e-9, 0.0]  # sums to far less than one: the worst of roundings
    assert {draw(short, decision_id=str(n), salt="s") for n in range(50)} == {1}


def stump_arrays() -> dict[str, np.ndarray]:
    """Two actions × two trees: a stump on x0 at 0.5, and a single leaf of .25."""
    return {
        "tree_feature": np.array([0, 0, 0, 0]),
        "tree_threshold": np.array([0.5, 0.0, 0.0, 0.0]),
        "tree_left": np.array([1, 1, 2, 3]),
        "tree_right": np.array([2, 1, 2, 3]),
        "tree_value": np.array([0.0, -1.0, 2.0, 0.25]),
        "tree_roots": np.array([[0, 3], [3, 3]]),
        "base": np.array([0.1, 0.2]),
    }


def tree_policy(**changes: np.ndarray) -> Policy:
    manifest = small_policy.manifest(
        actions=[{"action": "mail"}, {"action": "none"}],
        features=[{"name": "x0", "type": "number", "start": 0, "width": 1}],
    )
    return Policy(Artifact(manifest=manifest, arrays={**stump_arrays(), **changes}, tables={}))


def test_trees_are_walked_one_and_many_at_a_time() -> None:
    policy = tree_policy()
    assert policy.values(np.array([0.5])) == pytest.approx([0.1 - 1 + 0.25, 0.7])
    many = policy.values(np.array([[0.5], [0.6]]))
    assert many == pytest.approx(np.array([[-0.65, 0.7], [2.35, 0.7]]))


def test_many_rows_cross_the_blocks() -> None:
    x = np.random.default_rng(0).uniform(0, 1, (9000, 1))
    assert tree_policy().values(x)[:, 0] == pytest.approx(np.where(x[:, 0] <= 0.5, -0.65, 2.35))


BROKEN = {
    "not finite": {"tree_value": np.array([0.0, np.inf, 2.0, 0.25])},
    "cycle": {"tree_left": np.array([1, 0, 2, 3]), "tree_right": np.array([2, 0, 2, 3])},
    "outside": {"tree_right": np.array([9, 1, 2, 3])},
    "no such feature": {"tree_feature": np.array([1, 0, 0, 0])},
    "lengths": {"tree_value": np.array([0.0])},
    "roots": {"tree_roots": np.array([[0, 3]])},
}


@pytest.mark.parametrize("changes", BROKEN.values(), ids=BROKEN)
def test_broken_trees_are_refused(changes: dict[str, np.ndarray]) -> None:
    with pytest.raises(ArtifactError):
        tree_policy(**changes)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown policy": ({"policy": "greedy"}, "policy"),
    "temperature": ({"temperature": 0}, "temperature"),
    "floor": ({"exploration_floor": 1.5}, "exploration_floor"),
    "same action twice": ({"actions": [{"action": "a"}, {"action": "a"}]}, "different actions"),
    "no action": ({"actions": []}, "1 to 200"),
    "typo": ({"exploration_flor": 0.1}, "exploration_flor"),
    "limited none": ({"actions": [{"action": "none", "channel": "email"}]}, "none"),
    "no zone": ({"guardrails": {"default_time_zone": "Europe"}}, "IANA"),
    "no condition": (
        {"actions": [{"action": "a", "conditions": [{"attribute": "x"}]}]},
        "needs one_of",
    ),
    "quiet all day": (
        {"guardrails": {"quiet_hours": [{"start": "21:00", "end": "21:00"}]}},
        "name two times",
    ),
}


@pytest.mark.parametrize(("serving", "message"), REFUSED.values(), ids=REFUSED)
def test_a_manifest_that_cannot_serve_is_refused(serving: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        parameters_of(small_policy.manifest(**serving)["serving"])


def test_arrays_must_fit_the_manifest() -> None:
    one = {"actions": [{"action": "none"}]}
    with pytest.raises(ArtifactError, match="value 3 actions"):
        small_policy.policy(**one)
    with pytest.raises(ArtifactError, match="coefficients"):
        small_policy.policy(features=[])
    with pytest.raises(ArtifactError, match="not finite"):
        small_policy.policy(coefficients=[[float("nan")] * 7] * 3)
    overlapping = [{**f, "start": 0} for f in small_policy.FEATURES]
    with pytest.raises(ArtifactError, match="expected them to start"):
        small_policy.policy(features=overlapping)


def test_a_policy_opens_from_disk(tmp_path: Path) -> None:
    policy = Policy.open(small_policy.write(tmp_path / "model"))
    assert policy.actions == ["mail", "banner", "none"]
