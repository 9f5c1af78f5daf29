"""The synthetic shop of `tests.benchmarks.scale` is one that Prepare takes."""

import numpy as np
import pytest

from tests.benchmarks.scale import make_shop, write_shop
from training.datasets import read_dataset
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.kinds import TIMED
from training.recommendation.prepare import TEST, TRAIN, VALIDATION, prepare


@pytest.fixture(scope="module")
def shop():
    return make_shop(400, 20_000)


def test_it_has_as_many_interactions_as_asked_in_order_of_time(shop):
    assert len(shop.customers) == len(shop.products) == len(shop.times) == 20_000
    assert (np.diff(shop.times) >= 0).all()


def test_its_best_sellers_follow_zipf(shop):
    counts = np.bincount(shop.products, minlength=400)
    assert counts[:40].sum() > 3 * counts[-200:].sum()


def test_prepare_finds_times_and_returning_customers_in_it(shop, tmp_path):
    write_shop(shop, tmp_path / "dataset")
    prepared = prepare(read_dataset(tmp_path / "dataset"), RecommenderConfiguration())
    assert prepared.meta["kind"] == TIMED
    assert set(prepared.split.tolist()) == {TRAIN, VALIDATION, TEST}
    assert len(prepared.items) == 20_000
