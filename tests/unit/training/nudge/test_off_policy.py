"""Estimators against their definitions, against known truth, and their intervals' coverage."""

import numpy as np
import pytest

from tests.unit.training.nudge.classification_bandit import (
    cross_fitted_baseline,
    digits,
    letters_like,
)
from tests.unit.training.nudge.simulator import soft_target, world
from training.nudge.bounds import Groups
from training.nudge.models import PooledLinear
from training.nudge.off_policy import CHOSEN, ESTIMATORS, Log, estimate
from training.nudge.support import effective_size, support_of

LOG = Log(np.array([0, 1, 1, 0]), np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.5, 0.5, 0.25, 0.8]))
TARGET = np.array([[1.0, 0.0], [0.5, 0.5], [0.2, 0.8], [0.0, 1.0]])
BASELINE = np.array([[0.6, 0.2], [0.4, 0.1], [0.3, 0.7], [0.1, 0.2]])
WEIGHTS = np.array([2.0, 1.0, 3.2, 0.0])


def test_the_plain_estimators_are_their_formulas():
    found = {name: method(LOG, TARGET, BASELINE).value for name, method in ESTIMATORS.items()}
    expected = np.array([0.6, 0.25, 0.62, 0.2])
    missed = LOG.gains - np.array([0.6, 0.1, 0.7, 0.1])
    assert found["direct"] == pytest.approx(expected.mean())
    assert found["ips"] == pytest.approx((WEIGHTS * LOG.gains).mean())
    assert found["snips"] == pytest.approx((WEIGHTS * LOG.gains).sum() / WEIGHTS.sum())
    assert found["dr"] == pytest.approx((expected + WEIGHTS * missed).mean())


def test_the_logging_policy_itself_is_worth_what_it_earned():
    propensities = np.full((500, 2), 0.5)
    actions = np.arange(500) % 2
    gains = (np.arange(500) % 3 == 0).astype(float)
    log = Log(actions, gains, np.full(500, 0.5))
    for name in ("ips", "snips", "dr"):
        found = ESTIMATORS[name](log, propensities, np.zeros((500, 2))).value
        assert found == pytest.approx(gains.mean()), name


def test_dr_is_exact_with_a_perfect_model_and_ips_with_none():
    generator = np.random.default_rng(0)
    w = world(generator, count=20_000, skew=1.0)
    log, target = w.draw(generator), soft_target(w)
    noiseless = Log(log.actions, log.of_chosen(w.rewards), log.propensities)
    for name in ("direct", "dr", "switch_dr", "dr_shrinkage"):
        found = ESTIMATORS[name](noiseless, target, w.rewards).value
        assert found == pytest.approx(w.true_value(target), abs=1e-12), name


@pytest.mark.parametrize("make", [letters_like, digits])
def test_the_chosen_estimator_is_within_two_percent_on_classification_bandits(make):
    """The construction of Dudík et al.; letter recognition itself is not at hand (see there)."""
    bandit = make()
    generator = np.random.default_rng(1)
    actions = bandit.target.shape[1]
    errors = {name: [] for name in ("naive", *ESTIMATORS)}
    for _ in range(8):
        log = bandit.draw(generator)
        baseline = cross_fitted_baseline(
            log, bandit.contexts, lambda: PooledLinear(own=1.0), actions=actions
        )
        for name, method in ESTIMATORS.items():
            value = method(log, bandit.target, baseline).value
            errors[name].append(abs(value / bandit.truth - 1))
        errors["naive"].append(abs(log.gains.mean() / bandit.truth - 1))
    mean = {name: float(np.mean(found)) for name, found in errors.items()}
    assert mean[CHOSEN] <= 0.02
    assert mean["naive"] > 0.2
    assert mean["direct"] > mean[CHOSEN]


# 400 logs: a true coverage of 95 % shows as 92.8 to 97.2 % in 19 cases of 20. The reward model is
# wrong on purpose: an interval that forgets its estimator's bias does not pass.
@pytest.mark.slow
@pytest.mark.parametrize("skew", [0.0, 0.5])
def test_intervals_cover_the_truth_as_often_as_they_say(skew):
    generator = np.random.default_rng(7)
    big = world(generator, count=400_000, skew=skew)
    truth = big.true_value(soft_target(big))
    hits = dict.fromkeys(ESTIMATORS, 0)
    repeats = 400
    for _ in range(repeats):
        w = world(generator, count=3000, skew=skew)
        log, target = w.draw(generator), soft_target(w)
        groups = Groups(np.arange(3000), 3000)
        baseline = np.clip(w.rewards + 0.1, 0, 1) * 0.9
        found = estimate(log, target, baseline, groups=groups, generator=generator, resamples=200)
        for name, value in found.items():
            hits[name] += value.low <= truth <= value.high
    coverage = {name: count / repeats for name, count in hits.items()}
    print(skew, coverage)
    assert all(0.92 <= share <= 0.98 for share in coverage.values()), coverage


def test_customers_not_rows_are_resampled():
    """Rows repeated ten times each tell nothing new: the interval must not shrink."""
    generator = np.random.default_rng(3)
    w = world(generator, count=400, skew=0.0)
    log, target = w.draw(generator), soft_target(w)
    repeated = Log(*[np.repeat(a, 10) for a in (log.actions, log.gains, log.propensities)])
    widths = []
    for entry, table, baseline, keys in (
        (log, target, w.rewards, np.arange(400)),
        (repeated, np.repeat(target, 10, 0), np.repeat(w.rewards, 10, 0), np.arange(4000) // 10),
    ):
        found = estimate(
            entry,
            table,
            baseline,
            groups=Groups.of(keys),
            generator=np.random.default_rng(0),
            resamples=400,
        )["dr"]
        widths.append(found.high - found.low)
    assert widths[1] == pytest.approx(widths[0], rel=0.1)


def supported(log, probabilities, rewards=None, groups=None):
    return support_of(
        log,
        probabilities,
        np.ones(len(log)) if rewards is None else rewards,
        groups=groups or Groups.of(np.arange(len(log))),
        names=["zero", "one", "two"],
    )


def test_support_counts_what_speaks_about_the_policy():
    actions = np.array([0, 0, 1, 1])
    log = Log(actions, np.zeros(4), np.full(4, 0.5))
    always = np.tile([1.0, 0.0, 0.0], (4, 1))
    found = supported(log, always, np.array([1.0, 0.0, 1.0, 1.0]))
    assert found.effective_sample_size == 2
    assert found.matched_rewards == 1
    assert (found.largest_weight, found.mean_weight) == (2, 1)
    assert found.violations == ()


def test_actions_never_logged_are_a_violation():
    log = Log(np.array([0, 1]), np.zeros(2), np.full(2, 0.5))
    found = supported(log, np.tile([0.25, 0.25, 0.5], (2, 1)))
    assert found.unsupported == 0.5
    assert "never logged" in found.violations[0]


def test_wrong_propensities_are_a_violation():
    generator = np.random.default_rng(0)
    actions = generator.choice(2, size=5000, p=[0.8, 0.2])
    log = Log(actions, np.zeros(5000), np.full(5000, 0.5))
    found = supported(log, np.tile([0.0, 1.0], (5000, 1)))
    assert any("average 0.4" in text or "average 0.3" in text for text in found.violations)
    assert 0.5 < found.contradicted < 0.6


def test_wrong_propensities_whose_errors_cancel_are_a_violation():
    """Weights of both actions together average 1: each alone does not have its share."""
    actions = np.tile([0, 1], 5000)
    log = Log(actions, np.zeros(10_000), np.where(actions == 0, 0.25, 0.75))
    found = supported(log, np.tile([0.25, 0.75], (10_000, 1)))
    assert found.mean_weight == pytest.approx(1.0)
    assert "importance weights of zero average 0.500, not 0.250" in found.violations[0]


def test_an_action_that_a_context_rightly_never_draws_is_no_violation():
    """The old are never mailed: propensity 1 of the other action is true, and told so."""
    generator = np.random.default_rng(0)
    old = generator.random(5000) < 0.5
    actions = np.where(old, 0, generator.integers(0, 2, 5000))
    log = Log(actions, np.zeros(5000), np.where(old, 1.0, 0.5))
    rightly = np.where(old[:, None], [1.0, 0.0], [0.0, 1.0])
    assert supported(log, rightly).violations == ()
    mailed = supported(log, np.tile([0.0, 1.0], (5000, 1)))
    assert mailed.contradicted == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("together", [1, 10], ids=["by decision", "by customer"])
def test_true_propensities_are_no_violation(together):
    """Whether every decision was drawn by itself, or one for all of a customer's."""
    for seed in range(20):
        generator = np.random.default_rng(seed)
        propensities = np.array([0.005, 0.195, 0.8])
        actions = np.repeat(generator.choice(3, size=500, p=propensities), together)
        log = Log(actions, np.zeros(len(actions)), propensities[actions])
        keys = np.arange(len(actions)) // together
        found = supported(log, np.tile([0.3, 0.3, 0.4], (len(log), 1)), groups=Groups.of(keys))
        assert found.contradicted == 0.0, found.violations


def test_no_weight_is_no_sample():
    assert effective_size(np.zeros(3)) == 0
