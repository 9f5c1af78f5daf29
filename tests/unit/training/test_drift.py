"""Drift: nothing where nothing changed, and what changed where it did."""

import numpy as np
import pandas as pd
import pytest

from training.drift import MINIMUM_ROWS, drift_of, stability

START = pd.Timestamp("2026-03-01", tz="UTC")
NOTHING = pd.DataFrame({"action": []})


def interactions(count, *, buys=0.1, days=10.0, seed=0, customer="c"):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "customer_id": [f"{customer}{n % 50}" for n in range(count)],
            "product_id": [f"p{n % 20}" for n in range(count)],
            "event": rng.choice(["purchase", "view"], count, p=[buys, 1 - buys]),
            "timestamp": START + pd.to_timedelta(np.linspace(0, days, count), unit="D"),
        }
    )


def drifted(before, new, *, nudges_before=NOTHING, nudges_new=NOTHING, products=None):
    return drift_of(
        before, new, products=products, nudges_before=nudges_before, nudges_new=nudges_new
    )


@pytest.mark.parametrize("size", [MINIMUM_ROWS, 1000, 20_000])
def test_two_samples_of_one_population_do_not_drift(size):
    drifts = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        before, new = (pd.Series(rng.normal(size=size)) for _ in range(2))
        drifts.append(stability(before, new))
    assert max(found.drift for found in drifts) < 0.25
    mean = np.mean([found.stability for found in drifts])
    # The index of alike samples is what chance makes of it.
    assert mean == pytest.approx(drifts[0].chance, rel=0.5)


def test_the_index_is_the_formula_s():
    before = pd.Series(["a"] * 60 + ["b"] * 40)
    new = pd.Series(["a"] * 30 + ["b"] * 70)
    expected = 0.3 * np.log(0.6 / 0.3) + 0.3 * np.log(0.7 / 0.4)
    assert stability(before, new).stability == pytest.approx(expected)
    assert stability(before, new).chance == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("before", "new"),
    [
        (pd.Series(np.arange(1000.0)), pd.Series(np.arange(1000.0) + 700)),
        (pd.Series(np.arange(1000.0)), pd.Series([np.nan] * 900 + [1.0] * 100)),
        (pd.Series(["a"] * 900 + ["b"] * 100), pd.Series(["c"] * 500 + ["a"] * 500)),
        (pd.Series([1.0] * 1000), pd.Series(["x"] * 1000)),
    ],
)
def test_a_shift_is_seen(before, new):
    assert stability(before, new).drift > 0.25


def test_a_new_mix_of_events_is_the_largest_drift():
    found = drifted(interactions(5000), interactions(1000, buys=0.6, seed=1))
    assert found.largest == found.shifts["event"].drift > 0.25


def test_what_is_like_before_is_not_told_as_drift():
    found = drifted(interactions(5000), interactions(1000, days=2.0, seed=1))
    assert found.largest < 0.05
    assert found.volume_ratio == pytest.approx(1.0, rel=0.01)
    assert (found.unknown_products, found.unknown_customers) == (0.0, 0.0)


def test_unknown_products_and_customers_are_shares():
    new = interactions(200, customer="n")
    new.loc[:49, "product_id"] = "new"
    found = drifted(interactions(5000), new)
    assert (found.unknown_products, found.unknown_customers) == (0.25, 1.0)
    known = drifted(interactions(5000), new, products=pd.Series(["new", *{*new["product_id"]}]))
    assert known.unknown_products == 0.0


def test_contexts_and_actions_of_nudges_are_compared():
    rng = np.random.default_rng(0)
    before = pd.DataFrame({"action": "mail", "context_age": rng.normal(40, 5, 2000)})
    new = pd.DataFrame({"action": "mail", "context_age": rng.normal(60, 5, 500)})
    found = drifted(interactions(10), interactions(10), nudges_before=before, nudges_new=new)
    assert found.shifts["action"].drift == 0
    assert found.shifts["context_age"].drift > 1
    assert "event" not in found.shifts  # ten rows say nothing


def test_nothing_before_or_nothing_new_is_no_drift():
    nothing = interactions(5).iloc[:0]
    for before, new in ((nothing, interactions(5)), (interactions(5), nothing)):
        found = drifted(before, new)
        assert (found.largest, found.volume_ratio) == (0.0, None)
