"""A large shop's search looks at some customers, within its budget."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from training.recommendation.budget import Budget, Sizes, ranks_within
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.histories import holdout_histories
from training.recommendation.prepare import (
    TRAIN,
    VALIDATION,
    Prepared,
    from_frame,
    split_by_time,
    with_split,
)
from training.recommendation.sample import some_customers
from training.recommendation.tuning import Tuner

# A shop of the size that has to fit: 100,000 products, 20 million interactions.
LARGE = Sizes(products=100_000, customers=1_000_000, interactions=17_000_000, pairs=8e8)


@pytest.fixture(scope="module")
def shop() -> Prepared:
    """200 customers of 10 visits, of two worlds."""
    rng = np.random.default_rng(0)
    customers = np.repeat(np.arange(200), 10)
    days = np.tile(np.arange(10) * 3, 200) + rng.integers(0, 3, 2000)
    frame = pd.DataFrame(
        {
            "customer_id": [f"c{code:03}" for code in customers],
            "product_id": [f"p{code}" for code in rng.integers(0, 10, 2000) * 2 + customers % 2],
            "timestamp": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(days, unit="D"),
        }
    )
    prepared = from_frame(frame)
    return with_split(prepared, *split_by_time(prepared.times, 3))


def test_whole_customers_are_kept_and_counted_anew(shop):
    some = some_customers(shop, 0.3, seed=0)
    count = some.meta["customers"]
    assert 30 < count < 90
    assert sorted(set(some.customers.tolist())) == list(range(count))
    assert set(np.bincount(some.customers).tolist()) == {10}
    assert some.baskets.max() == len(np.unique(some.baskets)) - 1
    pairs = pd.DataFrame({"basket": some.baskets, "customer": some.customers}).drop_duplicates()
    assert not pairs["basket"].duplicated().any()
    again = some_customers(shop, 0.3, seed=0)
    assert again.fingerprint == some.fingerprint
    assert some_customers(shop, 1.0, seed=0) is shop


def test_a_small_shop_is_looked_at_whole_and_a_large_one_in_part(shop):
    assert Sizes.of(shop).share_within(0.001) == 1
    share = LARGE.share_within(300)
    assert 0.1 < share < 0.4
    assert LARGE.share_within(1) == pytest.approx(1e6 / 17e6)
    assert LARGE.share_within(100_000) == 1


def test_a_large_shop_leaves_something_for_trials():
    share = LARGE.share_within(300)
    searched = dataclasses.replace(
        LARGE,
        customers=int(share * LARGE.customers),
        interactions=int(share * LARGE.interactions),
        pairs=share * LARGE.pairs,
    )
    budget = Budget(LARGE, searched, customers=2000, seconds=300)
    assert not budget.affords_factors(128)
    budget.reserve(max(ranks_within(budget), default=0), 128, newcomers=False)
    assert budget.left > 300 / 4


def test_the_search_asks_everyone_of_what_some_taught(shop):
    histories = holdout_histories(shop, VALIDATION, purchase_event="purchase", limit=0, seed=0)
    past = shop.take(shop.split == TRAIN)
    some = some_customers(past, 0.4, seed=0)
    budget = Budget(Sizes.of(past), Sizes.of(some), len(histories), 60.0)
    configuration = RecommenderConfiguration(k=5, factors=0)
    trials = []
    tuner = Tuner(some, histories, configuration, budget=budget, report=trials.append)
    tuner.search()
    assert len(trials) > 10
    assert tuner.best.ndcg > trials[0].ndcg
    assert len(tuner.pool.codes) == len(histories) > some.meta["customers"]
