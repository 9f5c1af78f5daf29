"""Qini, AUUC and uplift@k: by hand, and equal to scikit-uplift's where it is installed."""

import warnings

import numpy as np
import pytest

from training.nudge.uplift import auuc_score, qini_curve, qini_score, uplift_at


def random_trial(seed):
    generator = np.random.default_rng(seed)
    count = int(generator.integers(50, 800))
    treated = (generator.random(count) < generator.uniform(0.2, 0.8)).astype(int)
    rewards = (generator.random(count) < generator.uniform(0.05, 0.7)).astype(int)
    scores = np.round(generator.normal(size=count), int(generator.integers(0, 4)))
    return rewards, scores, treated


@pytest.mark.parametrize("seed", range(25))
def test_equal_to_scikit_uplift(seed):
    metrics = pytest.importorskip("sklift.metrics", reason="scikit-uplift (extra `benchmarks`)")
    rewards, scores, treated = random_trial(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = (
            metrics.qini_auc_score(rewards, scores, treated),
            metrics.uplift_auc_score(rewards, scores, treated),
            metrics.uplift_at_k(rewards, scores, treated, strategy="overall", k=0.3),
        )
    ours = (
        qini_score(rewards, scores, treated),
        auuc_score(rewards, scores, treated),
        uplift_at(rewards, scores, treated, share=0.3),
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-10)


def test_a_curve_by_hand():
    rewards, treated = np.array([1, 0, 1, 0]), np.array([1, 0, 0, 1])
    targeted, gained = qini_curve(rewards, np.array([4.0, 3.0, 2.0, 1.0]), treated)
    assert targeted.tolist() == [0, 1, 2, 3, 4]
    assert gained.tolist() == [0, 1, 1, 0.5, 0]


def test_a_perfect_score_is_one_and_a_random_one_near_nothing():
    rewards, _, treated = random_trial(3)
    perfect = rewards * treated - rewards * (1 - treated)
    assert qini_score(rewards, perfect, treated) == pytest.approx(1.0)
    generator = np.random.default_rng(0)
    scores = [qini_score(rewards, generator.normal(size=len(rewards)), treated) for _ in range(50)]
    assert abs(np.mean(scores)) < 0.05


def test_uplift_at_a_share():
    rewards = np.array([1, 1, 0, 0, 1, 0])
    treated = np.array([1, 0, 1, 0, 1, 0])
    scores = np.array([6.0, 5.0, 4.0, 3.0, 2.0, 1.0])
    assert uplift_at(rewards, scores, treated, share=0.5) == -0.5
