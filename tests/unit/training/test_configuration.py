"""A configuration survives its trip as strings, and a mistake in it is named."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.configuration import parse, refuse_unknown_keys, to_strings
from training.errors import ConfigurationError
from training.recommendation.configuration import RecommenderConfiguration

CONFIGURATIONS = st.builds(
    RecommenderConfiguration,
    seed=st.integers(0, 2**40),
    holdout_days=st.floats(0, 365),
    k=st.integers(1, 100),
    gate_margin=st.floats(-1, 1),
    purchase_event=st.text(min_size=1, max_size=64),
)


@given(configuration=CONFIGURATIONS)
def test_parse_undoes_to_strings(configuration: RecommenderConfiguration) -> None:
    strings = to_strings(configuration)
    assert all(isinstance(value, str) for value in strings.values())
    assert parse(RecommenderConfiguration, strings, where="x") == configuration


def test_nothing_said_is_the_default() -> None:
    assert parse(RecommenderConfiguration, {}, where="x") == RecommenderConfiguration()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"neighbors": "3"}, "recommender: unknown key 'neighbors'; did you mean 'neighbours'"),
        (
            {"zzz": "3"},
            "recommender: unknown key 'zzz'; known: budget_seconds, ",
        ),
        ({"k": "0"}, "recommender: k=0: expected int >= 1"),
        ({"k": "101"}, "recommender: k=101: expected int <= 100"),
        ({"k": "ten"}, "recommender: k=ten: expected int, got str"),
        ({"k": "1.5"}, "recommender: k=1.5: expected int, got str"),
        ({"holdout_days": "366"}, "recommender: holdout_days=366: expected float <= 365"),
        ({"gate_margin": "nan"}, "recommender: gate_margin=nan: "),
        ({"purchase_event": ""}, "recommender: purchase_event=: expected str of length >= 1"),
    ],
)
def test_a_mistake_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse(RecommenderConfiguration, values, where="recommender")


def test_known_keys_pass() -> None:
    refuse_unknown_keys({"a": 1}, ["a", "b"], where="x")
    with pytest.raises(ConfigurationError, match="unknown key 'c'"):
        refuse_unknown_keys({"a": 1, "c": 2}, ["a", "b"], where="x")


def test_every_default_fits_into_a_hyperparameter() -> None:
    strings = to_strings(RecommenderConfiguration())
    assert len(strings) <= 90
    assert max(len(value) for value in strings.values()) <= 256
