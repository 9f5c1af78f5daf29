"""What events change of products and customers: the newest wins, and only what fits."""

import json

import pandas as pd
import pytest

from tests.unit.training.sync.archives import at
from training.sync.catalogue import changed_customers, changed_products

COLUMNS = ["event_id", "timestamp", "product_id", "available", "price", "attributes"]


def events(*rows):
    """Of (event id, hour, product, what it says)."""
    made = [
        (name, at(hour), product, said.pop("available", None), said.pop("price", None), said)
        for name, hour, product, said in rows
    ]
    frame = pd.DataFrame(made, columns=COLUMNS)
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], utc=True)
    return frame.assign(attributes=[json.dumps(told) for told in frame["attributes"]])


@pytest.fixture
def base():
    return pd.DataFrame(
        {
            "product_id": ["a", "b"],
            "price": [1.0, 2.0],
            "colour": ["red", None],
            "organic": [True, False],
            "tags": [["x"], []],
        }
    )


def changed(base, *rows, since=None):
    taken = pd.Series(["a", "z"])
    return changed_products(base, events(*rows), taken=taken, since=since)


def value(found, product, column):
    return found.table.set_index("product_id").loc[product, column]


def test_the_newest_event_wins_whatever_the_order(base):
    rows = [("e1", 1, "a", {"price": 5.0}), ("e3", 3, "a", {"price": 7.0})]
    for order in (rows, rows[::-1]):
        assert value(changed(base, *[(*r[:3], dict(r[3])) for r in order]), "a", "price") == 7.0


def test_of_two_at_one_time_the_greater_event_id_wins(base):
    found = changed(base, ("e2", 1, "a", {"price": 5.0}), ("e1", 1, "a", {"price": 7.0}))
    assert value(found, "a", "price") == 5.0


def test_a_product_that_was_unknown_becomes_a_row(base):
    found = changed(base, ("e", 1, "c", {"price": 3.0, "colour": "blue"}))
    assert (value(found, "c", "price"), value(found, "c", "colour")) == (3.0, "blue")
    assert found.counts == {"events": 1, "new": 1, "changed": 0}
    assert pd.isna(value(found, "b", "colour"))


def test_what_is_gone_is_available_until_then_and_again_from_then_on(base):
    gone = changed(base, ("e", 1, "a", {"available": False}))
    assert value(gone, "a", "available_until") == at(1)
    assert pd.isna(value(gone, "b", "available_until"))
    back = changed(base, ("e", 1, "a", {"available": False}), ("f", 2, "a", {"available": True}))
    assert pd.isna(value(back, "a", "available_until"))


def test_null_takes_a_value_back(base):
    assert pd.isna(value(changed(base, ("e", 1, "a", {"colour": None})), "a", "colour"))


@pytest.mark.parametrize(
    ("name", "wrong", "kind"),
    [("price", "dear", "number"), ("organic", 3, "flag"), ("tags", "x", "list")],
)
def test_a_value_of_another_type_is_set_aside_and_an_older_one_that_fits_counts(
    base, name, wrong, kind
):
    right = {"price": 9.0, "organic": False, "tags": ["y"]}[name]
    rows = [("e1", 1, "a", {}), ("e2", 2, "a", {})]
    frame = events(*rows)
    frame["attributes"] = [json.dumps({name: right}), json.dumps({name: wrong})]
    found = changed_products(base, frame, taken=pd.Series([], dtype=object), since=None)
    assert value(found, "a", name) == right
    assert found.aside == {f"{name} is no {kind}": 1}


def test_an_imported_table_stands_as_of_its_import(base):
    rows = [("e1", 1, "a", {"price": 5.0}), ("e2", 3, "b", {"price": 6.0})]
    found = changed(base, *rows, since=at(2))
    assert found.table["price"].tolist() == [1.0, 6.0]
    assert found.aside == {"older than the imported table": 1}


def test_without_an_imported_table_what_was_taken_is_listed_too():
    found = changed(None, ("e", 1, "b", {"price": 3.0}), since=at(2))
    assert found.table["product_id"].tolist() == ["a", "z", "b"]
    assert changed(None).table is None


def test_customers_change_likewise():
    rows = {
        "event_id": ["e", "f"],
        "timestamp": pd.to_datetime([at(1), at(2)], utc=True),
        "customer_id": ["ann", "bo"],
        "attributes": ['{"vip": true, "visits": 3}', '{"visits": 4.5}'],
    }
    table = changed_customers(None, pd.DataFrame(rows), since=None).table
    assert table.to_dict("records") == [
        {"customer_id": "ann", "visits": 3.0, "vip": True},
        {"customer_id": "bo", "visits": 4.5, "vip": None},
    ]
