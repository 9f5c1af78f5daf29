"""Nothing of the future is in the past: windows by time and by order."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.datasets import Dataset, build_dataset
from training.errors import NotEnoughDataError
from training.recommendation.catalogue import _attribute
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.content import token_vectors
from training.recommendation.kinds import ORDERED, SET, kind_of
from training.recommendation.prepare import (
    TEST,
    TRAIN,
    VALIDATION,
    prepare,
    split_at_random,
    split_by_order,
    split_by_time,
)

DAY = 86_400
CONFIGURATION = RecommenderConfiguration()


def dataset(*, ordered_by: str, products: pd.DataFrame | None = None) -> Dataset:
    rows = [
        (f"c{c:02d}", f"p{(c + i) % 6}", "purchase", pd.Timestamp(DAY * (3 * i + c % 3), unit="s"))
        for c in range(25)
        for i in range(12)
    ]
    frame = pd.DataFrame(rows, columns=["customer_id", "product_id", "event", "timestamp"])
    tables = {"interactions": frame} | ({} if products is None else {"products": products})
    return build_dataset(tables, now=datetime(2026, 1, 1, tzinfo=UTC), ordered_by=ordered_by)


@given(
    days=st.lists(st.integers(0, 1000), min_size=1, max_size=30),
    holdout_days=st.sampled_from([0.0, 0.5, 7.0, 28.0]),
)
def test_time_splits_never_overlap(days: list[int], holdout_days: float) -> None:
    times = np.array(days) * DAY
    split, window = split_by_time(times, holdout_days)
    assert (split[times >= window["test"]] == TEST).all()
    assert (split[times < window["validation"]] == TRAIN).all()
    assert split[np.argmax(times)] == TEST
    assert window["end"] - window["test"] == window["test"] - window["validation"]


@pytest.mark.parametrize(("span", "expected"), [(2, 1.0), (100, 10.0), (1000, 28.0)])
def test_the_automatic_window_is_a_tenth_within_bounds(span: int, expected: float) -> None:
    _, window = split_by_time(np.array([0, span * DAY - 1]), 0.0)
    assert (window["end"] - window["test"]) / DAY == expected


@given(counts=st.lists(st.integers(1, 6), min_size=1, max_size=8))
def test_order_holds_out_one_and_one_where_three_are_there(counts: list[int]) -> None:
    split, window = split_by_order(np.repeat(np.arange(len(counts)), counts))
    tails = [[VALIDATION, TEST] if n >= 3 else [TRAIN] * min(n, 2) for n in counts]
    expected = [[TRAIN] * (n - len(t)) + t for n, t in zip(counts, tails, strict=True)]
    assert split.tolist() == list(chain.from_iterable(expected))
    assert set(window.values()) == {None}


@given(counts=st.lists(st.integers(1, 40), min_size=1, max_size=8), seed=st.integers(0, 5))
def test_of_a_set_a_tenth_is_held_out_of_every_customer(counts: list[int], seed: int) -> None:
    customers = np.repeat(np.arange(len(counts)), counts)
    split, _ = split_at_random(customers, seed=seed)
    for customer, count in enumerate(counts):
        held = np.bincount(split[customers == customer], minlength=3)
        assert held[TRAIN] > 0
        assert held[TEST] == (max(1, round(count / 10)) if count >= 3 else 0)
        assert (held[VALIDATION] > 0) == (count >= 3 or count == 2)
    again, _ = split_at_random(customers, seed=seed)
    np.testing.assert_array_equal(split, again)


def kind(lists: list[list[str]]) -> str:
    customers = np.repeat(np.arange(len(lists)), [len(items) for items in lists])
    ids = sorted({item for items in lists for item in items})
    items = np.array([ids.index(item) for items in lists for item in items])
    return kind_of(customers, items, ids)


def test_order_is_found_where_it_says_something() -> None:
    draw = np.random.default_rng(0)
    chains = [
        [str((start + step) % 50) for step in range(8)] for start in draw.integers(0, 50, 300)
    ]
    shuffled = [[str(item) for item in draw.permutation(50)[:8]] for _ in range(300)]
    numbers = [sorted(items, key=int) for items in shuffled]
    assert kind(chains) == ORDERED
    assert kind(shuffled) == SET
    assert kind(numbers) == SET
    assert kind([sorted(items) for items in shuffled]) == SET
    assert kind(chains[:3]) == ORDERED  # too little to say otherwise


def test_tags_times_and_text_are_read_as_what_they_are() -> None:
    products = pd.DataFrame(
        {
            "product_id": [f"p{i}" for i in range(6)],
            "colours": [["red", "blue"], [], None, ["blue"], ["red"], ["red"]],
            "available_from": ["2026-01-01T00:00:00Z", None, "", None, None, None],
            "title": ["Red lamp", "Red rug", None, "Blue lamp", "", "Rug"],
        }
    )
    prepared = prepare(dataset(ordered_by="timestamp", products=products), CONFIGURATION)
    colours = prepared.meta["attributes"]["colours"]
    assert colours["values"] == ["blue", "red"]
    assert colours["codes"] == [[0, 1], [], [], [0], [1], [1]]
    assert prepared.meta["attributes"]["available_from"]["codes"][0] == 1767225600.0
    assert prepared.meta["attributes"]["available_from"]["codes"][1:] == [None] * 5
    vectors = token_vectors(prepared, idf_power=1.0)
    alike = (vectors @ vectors.T).toarray()
    assert alike[0, 1] > 0  # red, and red
    assert alike[2].sum() == 0


@pytest.mark.parametrize("ordered_by", ["timestamp", "order"])
def test_prepared_rows_are_in_order_of_customer_then_time(ordered_by: str) -> None:
    prepared = prepare(dataset(ordered_by=ordered_by), CONFIGURATION)
    assert prepared.meta["timed"] == (ordered_by == "timestamp")
    assert (np.diff(prepared.customers) >= 0).all()
    for customer in range(25):
        mine = prepared.customers == customer
        assert (np.diff(prepared.times[mine]) >= 0).all()
        if prepared.meta["kind"] != SET:
            assert (np.diff(prepared.split[mine]) >= 0).all()


def test_attributes_stand_in_the_order_of_the_product_codes() -> None:
    products = pd.DataFrame(
        {
            "product_id": ["p5", "p4", "p3", "p2", "p1", "p0", "never bought"],
            "title": ["Five", "", "Three", "Two", "One", "Zero", "Never"],
            "price": [5, 4, None, 2, 1, 0, 9],
            "fresh": [True, False, True, False, True, False, True],
        }
    )
    meta = prepare(dataset(ordered_by="timestamp", products=products), CONFIGURATION).meta
    assert meta["product_ids"] == ["never bought", *(f"p{i}" for i in range(6))]
    assert meta["titles"] == ["Never", "Zero", "One", "Two", "Three", None, "Five"]
    assert meta["attributes"]["price"]["codes"] == [9.0, 0.0, 1.0, 2.0, None, 4.0, 5.0]
    assert meta["attributes"]["fresh"]["values"] == ["false", "true"]
    assert meta["attributes"]["fresh"]["codes"] == [1, 0, 1, 0, 1, 0, 1]


def test_a_window_that_swallows_everything_is_not_enough_data() -> None:
    with pytest.raises(NotEnoughDataError, match="at least 5 are needed"):
        prepare(dataset(ordered_by="timestamp"), RecommenderConfiguration(holdout_days=365))


def test_true_and_false_with_gaps_stay_what_a_boolean_filter_matches() -> None:
    found = _attribute("fresh", pd.Series([True, None, False, float("nan")], dtype=object))
    assert found == {"type": "category", "values": ["false", "true"], "codes": [1, -1, 0, -1]}
    mixed = _attribute("fresh", pd.Series([True, "perhaps", 2.0, "2"], dtype=object))
    assert mixed is not None
    assert mixed["values"] == ["2", "perhaps", "true"]


@pytest.mark.parametrize("empty", ["", "  ", None, float("nan")])
def test_without_a_session_a_customers_day_is_a_visit(empty: str | float | None) -> None:
    """Regression: empty sessions were one and the same, so that a customer's year was a visit."""
    plain = dataset(ordered_by="timestamp").interactions
    twice = pd.concat([plain, plain.assign(product_id="p6")], ignore_index=True)
    sessions = np.where(
        twice["customer_id"] < "c10", empty, twice["customer_id"] + twice["product_id"]
    )
    tables = {"interactions": twice.assign(session_id=pd.Series(sessions, dtype=object))}
    made = build_dataset(tables, now=datetime(2026, 1, 1, tzinfo=UTC))
    prepared = prepare(made, CONFIGURATION)
    frame = pd.DataFrame(
        {
            "customer": prepared.customers,
            "item": prepared.items,
            "day": prepared.times // DAY,
            "basket": prepared.baskets,
        }
    )
    for keys, among in (("day", frame["customer"] < 10), ("item", frame["customer"] >= 10)):
        groups = frame[among].groupby(["customer", keys])["basket"]
        assert (groups.nunique() == 1).all()
        assert frame[among]["basket"].nunique() == groups.ngroups
