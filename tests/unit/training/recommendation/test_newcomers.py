"""Products without history: stand-ins, columns, factors, and how loudly they may speak."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from msgspec.structs import replace as changed

from inference.contracts import ProductRequest
from inference.recommender import Recommender
from training.datasets import build_dataset
from training.recommendation.answers import events_of
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.histories import holdout_histories
from training.recommendation.newcomer_blend import Blend
from training.recommendation.newcomer_figures import measure_newcomers
from training.recommendation.newcomer_tuning import (
    NewcomerTrial,
    choose,
    tune_newcomers,
)
from training.recommendation.newcomers import (
    Newcomers,
    add_columns,
    add_factors,
    draw_some,
    find_newcomers,
    newest,
    without,
)
from training.recommendation.parameters import NewcomerParameters, Parameters
from training.recommendation.prepare import TEST, TRAIN, Prepared, prepare
from training.recommendation.train import write_model

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CONFIGURATION = RecommenderConfiguration(k=5, budget_seconds=60, newcomer_cost=0.05)
WORLDS = ("Red", "Blue", "Green", "White")
PARAMETERS = Parameters(recent={"transitions": 1.0}, lasting={"customers": 0.3}, exclude_seen=True)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    """Four worlds of fifteen products each, which share a colour; a customer lives in one. The
    last product of each world is known to nobody."""
    draw = np.random.default_rng(0)
    rows = [
        (f"c{customer}", f"p{draw.integers(0, 14) * 4 + customer % 4:02d}", day)
        for customer in range(160)
        for day in pd.date_range("2026-01-01", periods=10, freq="4D", tz="UTC")
    ]
    interactions = pd.DataFrame(rows, columns=["customer_id", "product_id", "timestamp"])
    colours = [WORLDS[number % 4] for number in range(60)]
    products = pd.DataFrame({"product_id": [f"p{n:02d}" for n in range(60)], "colour": colours})
    # A colour is a token of a quarter of the products: too common for so small a shop's words.
    products["tags"] = [[f"{colour} {n}" for n in range(3)] for colour in colours]
    tables = {"interactions": interactions.assign(event="purchase"), "products": products}
    return prepare(build_dataset(tables, now=NOW), CONFIGURATION)


def world(codes: np.ndarray) -> np.ndarray:
    return np.asarray(codes) % 4


def test_stand_ins_are_known_products_of_the_same_world(prepared: Prepared) -> None:
    found = find_newcomers(prepared, idf_power=1.0, images=0.0)
    assert found.codes.tolist() == [56, 57, 58, 59]
    entries = found.stand_ins.tocoo()
    assert (world(found.codes[entries.row]) == world(entries.col)).all()
    assert (entries.col < 56).all()
    np.testing.assert_allclose(found.stand_ins.sum(axis=1), 1.0, rtol=1e-6)


def test_pictures_decide_where_attributes_do_not(prepared: Prepared) -> None:
    looks = np.eye(60, dtype=np.float32)[np.arange(60) % 8]
    pictured = replace(prepared, images=looks)
    shares = []
    for images in (0.0, 0.5):
        entries = find_newcomers(pictured, idf_power=1.0, images=images).stand_ins.tocoo()
        alike = (56 + entries.row) % 8 == entries.col % 8
        shares.append(entries.data[alike].sum() / 4)
    assert shares[1] > 0.85 > shares[0]


def test_a_newcomer_like_nobody_stays_alone() -> None:
    alone = Newcomers(np.array([2]), sp.csr_matrix((1, 3), dtype=np.float32))
    matrix = sp.csr_matrix(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=np.complex64))
    found = add_columns(matrix, alone, scale=1.0, neighbours=5)
    np.testing.assert_array_equal(found.toarray(), matrix.toarray())
    assert add_factors(np.ones((3, 2), np.float32), alone, scale=1.0)[2].tolist() == [0.0, 0.0]


def test_columns_and_factors_are_the_stand_ins_means_times_the_scale() -> None:
    draw = np.random.default_rng(1)
    dense = (draw.random((6, 6)) + 1j * draw.random((6, 6))).astype(np.complex64)
    dense[:, 4:] = 0
    shares = np.array([[0.5, 0.5, 0, 0, 0, 0], [0, 0, 1.0, 0, 0, 0]], dtype=np.float32)
    newcomers = Newcomers(np.array([4, 5]), sp.csr_matrix(shares))
    found = add_columns(sp.csr_matrix(dense), newcomers, scale=0.6, neighbours=6).toarray()
    np.testing.assert_allclose(found[:, :4], dense[:, :4], rtol=1e-6)
    np.testing.assert_allclose(found[:, 4:], 0.6 * dense @ shares.T, rtol=1e-5)
    factors = draw.random((6, 3)).astype(np.float32)
    np.testing.assert_allclose(
        add_factors(factors, newcomers, scale=0.6)[4:], 0.6 * shares @ factors, rtol=1e-5
    )
    np.testing.assert_allclose(newcomers.of(factors.T), factors.T @ shares.T, rtol=1e-5)


def test_rows_keep_their_width() -> None:
    matrix = sp.csr_matrix(np.array([[3, 2, 1, 0]] * 4, dtype=np.complex64))
    newcomers = Newcomers(np.array([3]), sp.csr_matrix(np.array([[1, 0, 0, 0]], np.float32)))
    found = add_columns(matrix, newcomers, scale=0.8, neighbours=2).toarray()
    assert found[0].tolist() == pytest.approx([3, 0, 0, 2.4])


def trial(scale: float, recall: float, ndcg: float) -> NewcomerTrial:
    return NewcomerTrial(NewcomerParameters(scale), recall, (0.3, ndcg))


def test_the_loudest_that_costs_no_more_than_allowed_is_chosen() -> None:
    trials = [trial(0.0, 0.1, 0.5), trial(0.5, 0.2, 0.49), trial(1.0, 0.4, 0.4)]
    assert choose(trials, cost=0.02).parameters.scale == 0.5
    assert choose(trials, cost=0.2).parameters.scale == 1.0
    assert choose(trials, cost=0.001).parameters.scale == 0.0


def test_neither_way_to_ask_may_lose_more() -> None:
    trials = [
        NewcomerTrial(NewcomerParameters(scale), recall, ndcg)
        for scale, recall, ndcg in ((0.0, 0.1, (0.5, 0.2)), (1.0, 0.4, (0.5, 0.1)))
    ]
    assert choose(trials, cost=0.02).parameters.scale == 0.0


def test_what_finds_no_more_stays_soft() -> None:
    assert choose([trial(0.0, 0.1, 0.5), trial(1.0, 0.1, 0.5)], cost=0.1).parameters.scale == 0.0


def test_hidden_products_are_found_and_the_others_hardly_lost(prepared: Prepared) -> None:
    found = tune_newcomers(prepared, CONFIGURATION, PARAMETERS)
    assert found is not None
    assert found.parameters.scale > 0
    assert found.recall > 0.5
    assert found == tune_newcomers(prepared, CONFIGURATION, PARAMETERS)


def test_nothing_is_chosen_where_nothing_is_known_or_nothing_may_be_given_up(
    prepared: Prepared,
) -> None:
    nothing = replace(
        prepared,
        tokens=replace(
            prepared.tokens,
            codes=prepared.tokens.codes[:0],
            indptr=np.zeros_like(prepared.tokens.indptr),
        ),
    )
    assert tune_newcomers(nothing, CONFIGURATION, PARAMETERS) is None
    free = changed(CONFIGURATION, newcomer_cost=0.0)
    assert tune_newcomers(prepared, free, PARAMETERS) is None


def test_the_choice_is_made_on_the_serving_core_s_scores(
    prepared: Prepared, tmp_path: Path
) -> None:
    past = prepared.take(prepared.split == TRAIN)
    parameters = changed(
        PARAMETERS,
        exclude_seen=False,
        repeat_weight=0.4,
        trend_weight=0.2,
        newcomers=NewcomerParameters(0.7),
    )
    histories = holdout_histories(prepared, 1, purchase_event="purchase", limit=20, seed=0)
    newcomers = find_newcomers(past, idf_power=1.0, images=0.0)
    said, expected = Blend.fit(past, parameters, CONFIGURATION).scores(histories)
    expected[:, newcomers.codes] += 0.7 * newcomers.of(said)
    write_model(tmp_path, past, parameters, CONFIGURATION, provenance={"run": "r"})
    recommender = Recommender.open(tmp_path)
    now = datetime.fromtimestamp(prepared.meta["window"]["validation"], UTC)
    for row in range(len(histories)):
        request = ProductRequest(history=events_of(histories, row, prepared, now), limit=40)
        for product in recommender.recommend(request, now=now).products:
            code = prepared.meta["product_ids"].index(product.product_id)
            assert product.score == pytest.approx(expected[row, code], rel=2e-3, abs=2e-4)


@pytest.mark.parametrize("factor_weight", [0.0, 0.5])
def test_a_newcomer_is_recommended_on_its_first_day_with_exact_reasons(
    prepared: Prepared, tmp_path: Path, factor_weight: float
) -> None:
    configuration = changed(CONFIGURATION, factors=8)
    for scale in (0.0, 1.0):
        parameters = changed(
            PARAMETERS, newcomers=NewcomerParameters(scale), factor_weight=factor_weight
        )
        folder = tmp_path / str(scale)
        write_model(folder, prepared, parameters, configuration, provenance={"run": "r"})
        request = ProductRequest(history=["p01", "p05", "p09"], limit=20)
        answer = Recommender.open(folder).recommend(request, now=NOW)
        newcomer = [product for product in answer.products if product.product_id == "p57"]
        assert bool(newcomer) == bool(scale)
    reasons = newcomer[0].reasons
    assert sum(reason.contribution for reason in reasons) == pytest.approx(newcomer[0].score)
    assert {reason.product_id for reason in reasons} & {"p01", "p05", "p09"}


def test_the_figure_for_the_newest_is_of_a_model_that_does_not_know_them(
    prepared: Prepared, tmp_path: Path
) -> None:
    hidden = newest(prepared, seed=0)
    past = without(prepared.take(prepared.split != TEST), hidden, split=TEST)
    assert not np.isin(past.items, hidden).any()
    parameters = changed(PARAMETERS, newcomers=NewcomerParameters(1.0))
    write_model(tmp_path, past, parameters, CONFIGURATION, provenance={"run": "r"})
    found = measure_newcomers(prepared, CONFIGURATION, Recommender.open(tmp_path))
    assert found["hidden"] == len(hidden)
    assert found["customers"] > 0
    assert found["models"]["challenger"]["recall@20"] > 0.5
    assert found["models"]["popularity"]["recall@20"] == 0.0


def test_the_newest_are_those_that_came_last(prepared: Prepared) -> None:
    first = np.full(60, np.iinfo(np.int64).max)
    np.minimum.at(first, prepared.items, prepared.times)
    known = np.unique(prepared.items)
    hidden = newest(prepared, seed=0)
    others = np.setdiff1d(known, hidden)
    assert first[hidden].min() >= first[others].max()
    assert len(draw_some(prepared, seed=0)) == len(hidden) == 10
    assert prepared.split.min() == TRAIN
