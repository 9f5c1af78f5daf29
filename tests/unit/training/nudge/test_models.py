"""One contract for every learner, on worlds whose right answer is known by construction."""

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression, Ridge

from inference.value_models import expected, open_model
from tests.unit.training.nudge.simulator import soft_target, world
from training.nudge.models import Constant, DoublyRobustUplift, Examples, PooledLinear
from training.nudge.trees import BoostedTrees, _nodes

LEARNERS = {
    "constant": Constant,
    "pooled": lambda: PooledLinear(own=30.0),
    "doubly robust": lambda: DoublyRobustUplift(penalty=30.0),
    "trees": BoostedTrees,
}
LEARNING = {name: make for name, make in LEARNERS.items() if name != "constant"}


def crossing(seed=0, count=4000, *, binary=True, actions=3):
    """Action 1 is good for x > 0 and bad for x < 0, 2 the other way round, 0 does nothing."""
    generator = np.random.default_rng(seed)
    contexts = generator.choice([-1.0, 1.0], size=(count, 2))
    codes = generator.integers(actions, size=count)
    signs = np.array([0.0, 1.0, -1.0, 0.0, 0.0])[codes]
    mean = 0.4 + 0.25 * signs * contexts[:, 0]
    rewards = (generator.random(count) < mean).astype(float) if binary else mean
    return Examples(
        contexts=contexts,
        actions=codes,
        rewards=rewards,
        propensities=np.full(count, 1 / actions),
        action_count=actions,
        reference=0,
        binary=binary,
        weights=np.ones(count),
    )


@pytest.mark.parametrize("name", LEARNING)
@pytest.mark.parametrize("binary", [True, False])
def test_the_right_action_is_found_on_both_sides(name, binary):
    model = LEARNING[name]().fit(crossing(binary=binary))
    values = model.rewards(np.array([[1.0, 1.0], [-1.0, 1.0]]))
    assert values.argmax(axis=1).tolist() == [1, 2]
    np.testing.assert_allclose(values[:, 1] - values[:, 0], [0.25, -0.25], atol=0.06)


@pytest.mark.parametrize("name", LEARNERS)
def test_what_is_served_is_what_was_learned(name):
    examples = crossing()
    model = LEARNERS[name]().fit(examples)
    served = open_model(model.arrays(), width=2)
    found = expected(served.scores(examples.contexts), model.link)
    np.testing.assert_allclose(found, model.rewards(examples.contexts), atol=1e-5)


@pytest.mark.parametrize("name", LEARNERS)
def test_an_action_never_seen_is_taken_to_do_what_the_reference_does(name):
    examples = crossing()
    examples = Examples(**{**vars(examples), "action_count": 5})
    values = LEARNERS[name]().fit(examples).rewards(examples.contexts[:20])
    np.testing.assert_allclose(values[:, 3], values[:, 0], atol=1e-9)
    np.testing.assert_allclose(values[:, 4], values[:, 0], atol=1e-9)


@pytest.mark.parametrize("name", LEARNERS)
def test_a_weight_counts_like_so_many_decisions(name):
    examples = crossing(count=900)
    doubled = examples.take(np.r_[np.arange(900), np.flatnonzero(examples.contexts[:, 1] > 0)])
    weighted = Examples(**{**vars(examples), "weights": 1.0 + (examples.contexts[:, 1] > 0)})
    a = LEARNERS[name]().fit(doubled).rewards(examples.contexts)
    b = LEARNERS[name]().fit(weighted).rewards(examples.contexts)
    # The doubly robust learner splits by position for its nuisance, so it is near, not equal.
    np.testing.assert_allclose(a, b, atol=0.03 if name == "doubly robust" else 1e-3)


@pytest.mark.parametrize("name", LEARNERS)
def test_twice_the_same_bits(name):
    a, b = (LEARNERS[name]().fit(crossing()).arrays() for _ in range(2))
    assert all(a[key].tobytes() == b[key].tobytes() for key in a)


def test_without_shrinkage_it_is_a_regression_for_each_action():
    examples = crossing()
    model = PooledLinear(own=1e-9, shared=1e-9).fit(examples)
    for action in range(3):
        rows = examples.actions == action
        single = LogisticRegression(C=1e9).fit(examples.contexts[rows], examples.rewards[rows])
        theirs = single.predict_proba(examples.contexts)[:, 1]
        np.testing.assert_allclose(model.rewards(examples.contexts)[:, action], theirs, atol=5e-3)


def test_with_all_shrinkage_actions_differ_by_a_constant():
    examples = crossing(binary=False)
    model = PooledLinear(own=1e12).fit(examples)
    slopes = model.coefficients_[:, :-1]
    np.testing.assert_allclose(slopes, np.tile(slopes[0], (3, 1)), atol=1e-6)


def test_ridge_is_ridge():
    examples = crossing(binary=False, actions=2)
    model = PooledLinear(own=1e-9, shared=1e-9).fit(examples)
    rows = examples.actions == 1
    theirs = Ridge(1e-6).fit(examples.contexts[rows], examples.rewards[rows])
    np.testing.assert_allclose(model.coefficients_[1, :-1], theirs.coef_, atol=1e-3)


def test_exported_trees_answer_as_scikit_learn_does():
    w = world(np.random.default_rng(0), count=3000, skew=0.0)
    log = w.draw(np.random.default_rng(1))
    rows = log.actions == 2
    model = BoostedTrees(trees=20, leaves=6)
    examples = Examples(
        w.contexts, log.actions, log.gains, log.propensities, 4, 0, True, np.ones(3000)
    )
    ours = model.fit(examples).rewards(w.contexts)[:, 2]
    theirs = HistGradientBoostingRegressor(
        max_iter=20,
        max_leaf_nodes=6,
        learning_rate=model.rate,
        min_samples_leaf=max(20, int(rows.sum()) // 100),
        max_bins=64,
        early_stopping=False,
    ).fit(w.contexts[rows], log.gains[rows])
    np.testing.assert_allclose(ours, theirs.predict(w.contexts), atol=1e-6)
    assert len(_nodes(theirs)) == 20


def test_two_hundred_actions_with_rare_rewards_are_learned():
    generator = np.random.default_rng(0)
    contexts = generator.normal(size=(4000, 30))
    codes = generator.integers(200, size=4000)
    rewards = (generator.random(4000) < 0.01).astype(float)
    examples = Examples(
        contexts, codes, rewards, np.full(4000, 1 / 200), 200, 0, True, np.ones(4000)
    )
    values = PooledLinear(own=100.0).fit(examples).rewards(contexts[:50])
    assert np.isfinite(values).all()
    assert 0.002 < values.mean() < 0.05


def test_a_better_model_makes_a_better_policy():
    w = world(np.random.default_rng(3), count=6000, skew=0.5)
    log = w.draw(np.random.default_rng(4))
    examples = Examples(
        w.contexts, log.actions, log.gains, log.propensities, 4, 0, True, np.ones(6000)
    )
    greedy = np.eye(4)[PooledLinear(own=10.0).fit(examples).rewards(w.contexts).argmax(axis=1)]
    assert w.true_value(greedy) > w.true_value(soft_target(w))
    assert w.true_value(greedy) > 0.97 * float(w.rewards.max(axis=1).mean())
