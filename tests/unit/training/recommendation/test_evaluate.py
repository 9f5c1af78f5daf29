"""The gate passes or refuses, and every refusal has its reason; who a champion may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from inference.artifact import pack
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.evaluate import find_champion, gate
from training.recommendation.parameters import CUSTOMERS, Parameters
from training.recommendation.prepare import (
    TEST,
    Prepared,
    from_frame,
    split_at_random,
    with_split,
)
from training.recommendation.train import HOLDOUT, write_model

POPULARITY = "better than popularity: ndcg@10"


def measured(*, customers: int = 50, **ndcg: float) -> dict[str, Any]:
    figures = {"challenger": 0.2, "popularity": 0.1, "recent_popularity": 0.1, **ndcg}
    models = {name: {"ndcg@10": value, "coverage@10": 0.5} for name, value in figures.items()}
    return {"customers": customers, "models": models}


@pytest.mark.parametrize(
    ("figures", "settings", "refused_for"),
    [
        ({}, {}, []),
        ({"challenger": 0.1}, {}, [f"{POPULARITY} is 0.1000, needed more than 0.1000"]),
        ({"popularity": 0.3}, {}, [f"{POPULARITY} is 0.2000, needed more than 0.3000"]),
        ({"recent_popularity": 0.3}, {"gate_margin": -0.2}, []),
        ({}, {"gate_margin": 0.2}, [f"{POPULARITY} is 0.2000, needed more than 0.3000"]),
        ({}, {"gate_coverage": 0.6}, ["coverage: coverage is 0.5000, needed at least 0.6000"]),
        ({"customers": 49}, {}, ["evidence: customers is 49, needed at least 50"]),
        ({"customers": 21}, {"gate_customers": 20}, []),
        (
            {"challenger": 0.0, "popularity": 0.0, "recent_popularity": 0.0},
            {"gate_margin": -0.1},
            [f"{POPULARITY} is 0.0000, needed more than 0.0000"],
        ),
        ({"champion": 0.204}, {}, []),
        (
            {"champion": 0.25},
            {},
            ["not worse than the champion: ndcg@10 is 0.2000, needed at least 0.2450"],
        ),
        ({"champion": 0.25}, {"champion_tolerance": 0.1}, []),
    ],
)
def test_the_verdict_and_its_reasons(
    figures: dict[str, Any], settings: dict[str, float], refused_for: list[str]
) -> None:
    verdict = gate(measured(**figures), RecommenderConfiguration(**settings))
    assert verdict["reasons"] == refused_for
    assert verdict["outcome"] == ("refused" if refused_for else "passed")
    assert sum(not check["passed"] for check in verdict["checks"]) == len(refused_for)


def test_everything_wrong_is_said_at_once() -> None:
    figures = measured(challenger=0.0, champion=0.5, customers=3)
    verdict = gate(figures, RecommenderConfiguration(gate_coverage=0.9))
    assert len(verdict["reasons"]) == len(verdict["checks"]) == 4


def untimed(*, seed: int) -> Prepared:
    """Plain sets, of which `seed` draws the test set."""
    draw = np.random.default_rng(0)
    pairs = {"customer_id": np.repeat(np.arange(30), 10), "product_id": draw.integers(0, 40, 300)}
    prepared = from_frame(pd.DataFrame(pairs))
    return with_split(prepared, *split_at_random(prepared.customers, seed=seed))


def champion_of(prepared: Prepared, folder: Path) -> Path:
    """The channel of a champion whose holdout model was fitted on all but the test set."""
    extra, channel = folder / "extra", folder / "channel"
    channel.mkdir()
    past = prepared.take(prepared.split != TEST)
    parameters, settings = Parameters(recent={CUSTOMERS: 1.0}), RecommenderConfiguration()
    write_model(extra / HOLDOUT, past, parameters, settings, provenance={})
    pack(extra, channel / "output.tar.gz")
    return channel


@pytest.mark.parametrize(("seed", "compared"), [(0, True), (1, False)])
def test_a_champion_of_sets_is_compared_only_if_it_never_saw_this_test_set(
    tmp_path: Path, seed: int, compared: bool
) -> None:
    """Regression: another seed holds out as many interactions, but others."""
    channel = champion_of(untimed(seed=0), tmp_path)
    found = find_champion(channel, tmp_path / "scratch", untimed(seed=seed))
    assert (found is not None) == compared
