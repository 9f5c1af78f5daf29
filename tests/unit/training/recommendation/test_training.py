"""Splits, parts, metrics, tuning and the artefact of the recommender."""

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from inference.recommender import Recommender
from training.datasets import build_dataset
from training.errors import NotEnoughDataError
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.evaluate import gate, recommend_all
from training.recommendation.histories import holdout_histories
from training.recommendation.metrics import evaluate_lists
from training.recommendation.models import BasketCooccurrence, blocked_product, keep_top
from training.recommendation.prepare import (
    TEST,
    TRAIN,
    VALIDATION,
    load,
    prepare,
    save,
    split_by_order,
    split_by_time,
)
from training.recommendation.train import write_model
from training.recommendation.tuning import Parameters, Scorer, top_k, tune

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CONFIGURATION = RecommenderConfiguration(tuning_customers=40, k=5)
DAY = 86_400


@pytest.fixture(scope="module")
def prepared():
    """Two worlds: even customers take even products, odd ones odd products."""
    rng = np.random.default_rng(0)
    rows = []
    for customer in range(60):
        for visit in range(12):
            product = int(rng.integers(0, 10)) * 2 + customer % 2
            day = pd.Timestamp("2026-01-01", tz="UTC") + pd.Timedelta(days=3 * visit + customer % 3)
            rows.append((f"c{customer}", f"p{product}", "purchase", day))
    columns = ["customer_id", "product_id", "event", "timestamp"]
    dataset = build_dataset({"interactions": pd.DataFrame(rows, columns=columns)}, now=NOW)
    return prepare(dataset, CONFIGURATION)


def test_time_is_cut_into_windows():
    split, window = split_by_time(np.arange(100) * DAY, 10)
    assert np.bincount(split).tolist() == [80, 10, 10]
    assert (np.diff(split) >= 0).all()
    assert window["test"] < window["end"]


def test_order_leaves_the_last_two_out():
    split, _ = split_by_order(np.array([0, 0, 0, 0, 1, 1]))
    assert split.tolist() == [TRAIN, TRAIN, VALIDATION, TEST, TRAIN, TRAIN]


def test_nothing_to_hold_out_is_not_enough_data():
    rows = [(f"c{i}", f"p{i % 7}", "view", "2026-01-01") for i in range(30)] * 2
    frame = pd.DataFrame(rows, columns=["customer_id", "product_id", "event", "timestamp"])
    frame["session_id"] = [str(i) for i in range(60)]
    dataset = build_dataset({"interactions": frame}, now=NOW)
    with pytest.raises(NotEnoughDataError, match="longer span"):
        prepare(dataset, CONFIGURATION)


def test_metrics_by_hand():
    found = evaluate_lists([[1, 2, 3], [4, 5, 6]], [{2, 9}, {7}], k=3, product_count=10)
    ideal = 1 + 1 / np.log2(3)
    assert found["recall@3"] == pytest.approx(0.25)
    assert found["ndcg@3"] == pytest.approx((1 / np.log2(3)) / ideal / 2)
    assert found["hr@3"] == 0.5
    assert found["mrr@3"] == 0.25
    assert found["coverage@3"] == 0.6


def test_only_the_best_neighbours_are_kept():
    matrix = sp.csr_matrix(np.array([[0, 3, 1, 2], [5, 0, 5, 5.0]]))
    assert keep_top(matrix, 2).toarray().tolist() == [[0, 3, 0, 2], [5, 0, 5, 0]]


def test_the_product_in_blocks_is_the_product():
    rng = np.random.default_rng(1)
    left, right = sp.random(7, 5, 0.6, "csr", rng=rng), sp.random(5, 7, 0.6, "csr", rng=rng)
    expected = (left @ right).toarray()
    np.fill_diagonal(expected, 0)
    np.testing.assert_allclose(blocked_product(left, right, 7).toarray(), expected)


def test_cooccurrence_keeps_the_two_worlds_apart(prepared):
    matrix = BasketCooccurrence(neighbours=50).fit(prepared).matrix_.tocoo()
    parity = np.array([int(p[1:]) % 2 for p in prepared.meta["product_ids"]])
    assert matrix.nnz
    assert (parity[matrix.row] == parity[matrix.col]).all()


@pytest.mark.parametrize(
    "parameters",
    [
        Parameters(),
        Parameters(exclude_seen=True, transition_share=1.0),
        Parameters(repeat_weight=0, trend_weight=0, transition_share=0.0, decay=1.0),
    ],
)
def test_tuning_scores_are_the_serving_scores(prepared, tmp_path, parameters):
    past = prepared.take(prepared.split == TRAIN)
    window = dict(prepared.meta["window"])
    histories = holdout_histories(prepared, VALIDATION, purchase_event="purchase", limit=40, seed=0)
    scorer = Scorer(past, histories, CONFIGURATION)
    scores = scorer.scores(
        histories, parameters, scorer.parts.matrix(parameters), scorer.parts.prior(parameters)
    )
    write_model(tmp_path, past, parameters, CONFIGURATION, provenance={"run": "r"})
    prepared.meta["window"]["test"] = window["validation"]  # ages count from there
    try:
        served = recommend_all(Recommender.open(tmp_path), histories, prepared, k=5)
    finally:
        prepared.meta["window"].update(window)
    expected = top_k(scores, 5)
    for row, found in enumerate(served):
        np.testing.assert_allclose(
            scores[row][found], scores[row][expected[row]][: len(found)], rtol=1e-4, atol=1e-6
        )


def test_tuning_and_the_artefact_are_the_same_every_time(prepared, tmp_path):
    trials = [tune(prepared, CONFIGURATION, report=lambda trial: None) for _ in range(2)]
    assert trials[0] == trials[1]
    assert trials[0].ndcg > 0.1
    for name in ("one", "two"):
        write_model(
            tmp_path / name, prepared, trials[0].parameters, CONFIGURATION, provenance={"run": "r"}
        )
    one = {p.name: p.read_bytes() for p in (tmp_path / "one").iterdir()}
    assert one == {p.name: p.read_bytes() for p in (tmp_path / "two").iterdir()}


def test_prepared_data_survives_the_disk(prepared, tmp_path):
    save(prepared, tmp_path)
    found = load(tmp_path)
    np.testing.assert_array_equal(found.items, prepared.items)
    assert found.meta == prepared.meta


def figures(ndcg, coverage=0.5):
    return {"ndcg@10": ndcg, "coverage@10": coverage}


def test_the_gate_says_why():
    models = {
        "challenger": figures(0.2),
        "popularity": figures(0.1),
        "recent_popularity": figures(0.3),
    }
    verdict = gate(models, RecommenderConfiguration())
    assert verdict["outcome"] == "refused"
    assert "0.2000, needed 0.3000" in verdict["reasons"][0]
    models["recent_popularity"] = figures(0.1)
    assert gate(models, RecommenderConfiguration())["outcome"] == "passed"
    models["champion"] = figures(0.25)
    assert "champion" in gate(models, RecommenderConfiguration())["reasons"][0]
