"""A sync on folders: what the data sets hold, and that how it was read does not matter."""

import shutil
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.training.sync.archives import (
    Shop,
    at,
    imported_interactions,
    imported_nudges,
    interaction,
    nudge,
    recommendation,
    reward,
)
from training.datasets import read_dataset
from training.errors import DataQualityError
from training.nudge.tables import read_nudge_dataset


@pytest.fixture
def shop(tmp_path):
    return Shop(tmp_path)


@pytest.fixture
def stocked(shop):
    shop.import_interactions(imported_interactions())
    shop.import_nudges(imported_nudges())
    return shop


def test_archived_interactions_follow_the_imported_ones(stocked):
    stocked.archive([interaction(1, 1, customer="new", value=2.5)])
    account = stocked.sync()
    found = read_dataset(stocked.folder / "out-1" / "interactions")
    assert account["interactions"]["imported"] == 42
    assert account["interactions"]["rows"] == len(found.interactions) == 43
    last = found.interactions.iloc[-1]
    assert (last["customer_id"], last["event"], last["value"]) == ("new", "view", 2.5)


def test_the_archive_alone_makes_the_first_data_set(shop):
    rows = [
        interaction(f"{n}{half}", n + half, customer=f"c{n}", product=f"p{n % 5}")
        for n in range(20)
        for half in (0, 0.5)
    ]
    shop.archive(rows)
    assert shop.sync()["interactions"]["rows"] == 40
    assert "products.parquet" not in shop.made("interactions")


def test_too_little_is_told_and_kept_for_the_next_time(shop):
    shop.archive([interaction(1)])
    first = shop.sync()
    assert first["interactions"]["made"] is False
    assert "at least 20" in first["interactions"]["why"]
    assert shop.made("interactions") == {}
    shop.import_interactions(imported_interactions())
    assert shop.sync()["interactions"]["rows"] == 43


def test_nothing_at_all_is_told(shop):
    account = shop.sync()
    assert account["interactions"]["why"] == "no event of customers or products is archived"
    assert account["nudges"]["made"] is False


def test_what_nothing_is_archived_of_stays_as_it_was_imported(stocked):
    stocked.archive([nudge(1, 1)])
    account = stocked.sync()
    assert (account["interactions"]["made"], account["nudges"]["made"]) == (False, True)
    assert stocked.made("interactions") == {}


def test_yes_and_no_in_a_context_are_the_words_of_serving_with_gaps_too(stocked):
    stocked.archive([nudge(1, 1, context='{"member": true}'), nudge(2, 1, context="{}")])
    stocked.sync()
    table = stocked.table("nudges", "nudges").set_index("decision_id")
    assert table.loc["d1", "context_member"] == "true"
    assert pd.isna(table.loc["d2", "context_member"])


def test_a_decision_is_joined_with_its_reward_and_one_that_waits_is_not(stocked):
    stocked.archive([nudge(1, 1), nudge(2, 990), reward(1, 2, decision_id="d1", amount=3.0)])
    account = stocked.sync(1000)
    log = read_nudge_dataset(stocked.folder / "out-1" / "nudges").nudges.set_index("decision_id")
    assert log.loc["d1", ["reward", "context_age", "eligible"]].tolist() == [3.0, 3.0, "mail|none"]
    assert "d2" not in log.index
    assert account["next_due"] == at(1010).isoformat()
    assert account["nudges"]["joined"]["waiting"] == 1


def test_a_reward_that_is_archived_late_still_counts(stocked):
    stocked.archive([nudge(1, 1)])
    stocked.sync(100)
    assert stocked.table("nudges", "nudges").set_index("decision_id").loc["d1", "reward"] == 0
    stocked.archive([reward(1, 2, decision_id="d1")])
    stocked.sync(200)
    assert stocked.table("nudges", "nudges").set_index("decision_id").loc["d1", "reward"] == 1


def test_an_imported_decision_stays_as_it_was_imported(stocked):
    stocked.archive([nudge(1, 1, decision_id="i3", action="none")])
    stocked.sync()
    table = stocked.table("nudges", "nudges").set_index("decision_id")
    assert (len(table), table.loc["i3", "action"]) == (220, "mail")


def test_what_is_delivered_twice_counts_once(stocked):
    twice = interaction(1, 1)
    stocked.archive([twice])
    stocked.archive([twice, interaction(2, 2)])
    stocked.sync()
    stocked.archive([interaction(2, 2), interaction(3, 3)])
    account = stocked.sync()
    assert account["interactions"]["rows"] == 45
    assert account["events"]["interactions"] == {"read": 2, "new": 1, "kept": 3}


def test_an_archived_interaction_that_was_imported_is_a_duplicate(stocked):
    first = imported_interactions().iloc[0]
    row = {"customer": first.customer_id, "product": first.product_id, "event": first.event}
    stocked.archive([interaction(1, -100, **row)])
    account = stocked.sync()
    assert account["interactions"]["rows"] == 42
    assert account["interactions"]["rejected"] == {"duplicate": 1}


def test_an_unknown_product_waits_for_its_event(shop):
    products = pd.DataFrame({"product_id": [f"p{n}" for n in range(5)], "price": 1.0})
    shop.import_interactions(imported_interactions(), products=products)
    shop.archive([interaction(1, 1, product="lamp")])
    assert shop.sync()["interactions"]["rejected"] == {"product not in the products table": 1}
    change = {"event_id": "x", "timestamp": at(2), "product_id": "lamp", "attributes": "{}"}
    shop.archive([("products", change)])
    # The event tells of no attribute: a product it is, all the same.
    assert shop.sync()["interactions"]["rejected"] == {}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (interaction(1, -24 * 365 * 80), "interactions: a time before 1970 or in the future"),
        (interaction(1, 1100), "interactions: a time before 1970 or in the future"),
        (interaction(1, customer=" "), "interactions: no customer_id"),
        (nudge(1, propensity=0.0), "decisions: its propensity is not above 0 and at most 1"),
        (nudge(1, action="push"), "decisions: the action taken is not among those that were"),
        (nudge(1, customer=None), "decisions: no customer_id"),
        (reward(1, amount=float("nan"), decision_id="d"), "rewards: no reward"),
        (nudge(1, context="{"), "decisions: its context is no JSON object"),
        (nudge(1, context="[1]"), "decisions: its context is no JSON object"),
    ],
)
def test_a_row_that_no_table_can_hold_is_set_aside_and_ends_nothing(stocked, row, reason):
    stocked.archive([row, interaction(2, 1)])
    account = stocked.sync()
    [(told, count)] = account["set_aside"].items()
    assert told.startswith(reason)
    assert count == 1
    assert account["interactions"]["rows"] == 43


def test_an_object_that_is_no_table_is_told_and_the_others_are_read(stocked):
    stocked.archive([interaction(1, 1)])
    [good] = (stocked.folder / "archive").rglob("*.parquet")
    good.with_name("broken.parquet").write_bytes(good.read_bytes()[:200])
    pd.DataFrame({"colour": ["red"]}).to_parquet(good.with_name("other.parquet"))
    account = stocked.sync()
    assert [Path(key).name for key in account["unreadable"]] == ["broken.parquet", "other.parquet"]
    assert account["interactions"]["rows"] == 43


def test_who_asked_to_be_erased_is_left_out_and_named_as_pending(stocked):
    asked = {"event_id": "x", "timestamp": at(5), "customer_id": "c1"}
    stocked.archive([interaction(1, 1, customer="c1"), interaction(2, 6, customer="c1")])
    stocked.archive([("erasures", asked)])
    account = stocked.sync()
    found = stocked.table("interactions", "interactions")
    assert found[found["customer_id"] == "c1"]["timestamp"].tolist() == [at(6)]
    assert "c1" not in set(stocked.table("nudges", "nudges")["customer_id"])
    assert account["erasures"] == {"pending": 1, "rows_left_out": 1}


@pytest.mark.parametrize(("folder", "told"), [("interactions", "import it"), ("last", "syncs/")])
def test_what_a_sync_goes_on_from_has_to_be_there(stocked, folder, told):
    stocked.archive([interaction(1, 1)])
    stocked.sync()
    shutil.rmtree(stocked.folder / folder)
    (stocked.folder / folder).mkdir()
    with pytest.raises(DataQualityError, match=told):
        stocked.sync()


def test_slots_say_what_was_clicked_and_bought(stocked):
    stocked.archive(
        [
            recommendation(1, 1, products=("p0", "p1", "p2")),
            recommendation(2, 3, products=("p1",)),
            recommendation(3, 998),
            interaction(1, 2, product="p0"),
            interaction(2, 4, product="p1", event="purchase"),
            interaction(3, 12, product="p2"),
        ]
    )
    account = stocked.sync(1000)
    rows = stocked.table("interactions", "slots")
    told = rows[["decision_id", "position", "product_id", "clicked", "purchased"]].values.tolist()
    assert told == [
        ["s1", 1, "p0", True, False],
        ["s1", 2, "p1", False, False],  # the later decision showed it last
        ["s1", 3, "p2", False, False],  # eleven hours are more than the ten
        ["s2", 1, "p1", False, True],
    ]
    assert account["slots"]["waiting"] == 2


PRODUCT = st.sampled_from(["p0", "p1", "y"])
HOUR = st.integers(0, 30)


def whose(number):
    """An id is one customer's, whatever else its rows contradict each other in."""
    return ["c0", "c1", "x"][number % 3]


def product_event(number, hour, product, price):
    told = f'{{"price": {price}, "colour": "{number}"}}'
    row = {"event_id": f"x{number}", "timestamp": at(hour), "product_id": product}
    return ("products", {**row, "attributes": told, "available": number != 1})


def erasure(number, hour):
    return ("erasures", {"event_id": f"g{number}", "timestamp": at(hour), "customer_id": "x"})


ROW = st.one_of(
    st.builds(
        lambda n, hour, product: interaction(n, hour, customer=whose(n), product=product),
        st.integers(0, 5),
        HOUR,
        PRODUCT,
    ),
    st.builds(
        lambda n, hour, action: nudge(n, hour, customer=whose(n), action=action),
        st.integers(0, 4),
        HOUR,
        st.sampled_from(["mail", "none"]),
    ),
    st.builds(lambda n, hour: recommendation(n, hour, customer=whose(n)), st.integers(0, 2), HOUR),
    st.builds(
        lambda n, hour, decision: reward(n, hour, decision_id=decision, customer_id=whose(n)),
        st.integers(0, 5),
        HOUR,
        st.none() | st.sampled_from(["d0", "d1", "i1"]),
    ),
    st.builds(
        product_event,
        st.integers(0, 3),
        HOUR,
        PRODUCT,
        st.sampled_from(["1.5", "2", '"dear"', "null"]),
    ),
    st.builds(erasure, st.integers(0, 1), HOUR),
)


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.lists(ROW, max_size=6), min_size=1, max_size=3),
    st.booleans(),
    st.randoms(use_true_random=False),
)
def test_syncs_one_by_one_make_what_one_sync_of_everything_makes(batches, has_products, random):
    """Rows may repeat, contradict each other under one id, and be archived in any order."""
    products = pd.DataFrame({"product_id": [f"p{n}" for n in range(5)], "price": 1.0})
    tables = {"products": products} if has_products else {}
    with tempfile.TemporaryDirectory() as name:
        shops = [Shop(Path(name) / part) for part in ("one", "all")]
        for shop in shops:
            shop.import_interactions(imported_interactions(), when=3, **tables)
            shop.import_nudges(imported_nudges())
        one, everything = shops
        for number, batch in enumerate(batches):
            one.archive(batch)
            one.sync(10 * (number + 1))
        one.sync(100)
        shuffled = [row for batch in batches for row in [*batch, *batch[:1]]]
        random.shuffle(shuffled)
        everything.archive(shuffled)
        everything.sync(100)
        for kind in ("interactions", "nudges"):
            assert one.made(kind) == everything.made(kind)
