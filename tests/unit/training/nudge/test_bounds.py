"""The gate's bound holds where bootstrap intervals collapse, and is not much wider elsewhere."""

import numpy as np
import pytest

from training.nudge.bounds import (
    Groups,
    Range,
    betting_interval,
    betting_lower,
    bootstrap_ratios,
    empirical_bernstein_lower,
)


def lower(values, within, **options):
    return betting_lower(values, within=within, generator=np.random.default_rng(0), **options)


@pytest.mark.parametrize("chance", [0.002, 0.05, 0.5])
def test_the_bound_is_below_the_truth_as_often_as_it_says(chance):
    """Rare rewards with weights up to 20: the truth is `chance`."""
    generator = np.random.default_rng(5)
    wrong = 0
    for _ in range(300):
        rewards = generator.random(800) < chance
        matched = generator.random(800) < 1 / 20
        found = betting_lower(20.0 * rewards * matched, within=Range(0, 20), generator=generator)
        wrong += found > chance
    assert wrong / 300 <= 0.05


def test_no_reward_at_all_gives_no_certainty():
    nothing = np.zeros(10_000)
    low, high = betting_interval(nothing, within=Range(-46, 46), generator=np.random.default_rng(0))
    assert low < -0.01
    assert high > 0.01
    collapsed = bootstrap_ratios(
        nothing[:, None],
        np.ones((10_000, 1)),
        groups=Groups(np.arange(10_000), 10_000),
        resamples=50,
        generator=np.random.default_rng(0),
    )
    assert [float(end[0]) for end in collapsed.intervals()] == [0.0, 0.0]


def test_much_evidence_makes_it_tight():
    values = np.random.default_rng(0).normal(0.02, 0.4, 40_000).clip(-2, 2)
    found = lower(values, Range(-4, 4))
    standard = values.std() / 200
    assert values.mean() - 3 * standard < found < values.mean() - standard
    assert found > empirical_bernstein_lower(values, within=Range(-4, 4))


def test_more_confidence_lowers_it():
    values = np.random.default_rng(1).normal(1, 1, 2000).clip(-3, 5)
    bounds = [lower(values, Range(-3, 5), alpha=alpha) for alpha in (0.2, 0.05, 0.001)]
    assert bounds == sorted(bounds, reverse=True)


def test_copies_of_a_customer_are_no_evidence():
    """200 customers, each of ten rows that are the same: rows taken for independent overclaim."""
    generator = np.random.default_rng(2)
    groups = Groups.of(np.repeat(np.arange(200), 10))
    wrong = {"groups": 0, "rows": 0}
    for _ in range(200):
        copied = np.repeat((generator.random(200) < 0.5).astype(float), 10)
        for name, told in (("groups", groups), ("rows", None)):
            found = betting_lower(copied, within=Range(0, 1), groups=told, generator=generator)
            wrong[name] += found > 0.5
    assert wrong["groups"] <= 10
    assert wrong["rows"] > 40


def test_the_least_possible_is_the_floor():
    assert lower(np.full(3, 0.5), Range(0, 1)) >= 0
    assert empirical_bernstein_lower(np.array([0.5]), within=Range(0, 1)) == 0


def test_a_seed_decides_the_bound():
    values = np.random.default_rng(3).random(500)
    assert lower(values, Range(0, 1)) == lower(values, Range(0, 1))
