"""Splits, parts, metrics, tuning and the artefact of the recommender."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from inference.contracts import ProductRequest
from inference.factors import Factors, factor_arrays
from inference.recommender import Recommender
from training.configuration import to_strings
from training.datasets import build_dataset
from training.errors import NotEnoughDataError
from training.job import Job
from training.recommendation.answers import events_of
from training.recommendation.budget import Budget, Sizes
from training.recommendation.configuration import RecommenderConfiguration
from training.recommendation.cooccurrence import Cooccurrence
from training.recommendation.factors import ItemFactors, fold_in
from training.recommendation.histories import holdout_histories
from training.recommendation.matrices import blocked_product, keep_top
from training.recommendation.metrics import evaluate_lists
from training.recommendation.parameters import Parameters, SpectralParameters
from training.recommendation.prepare import (
    TEST,
    TRAIN,
    VALIDATION,
    Prepared,
    load,
    prepare,
    save,
    split_by_order,
    split_by_time,
)
from training.recommendation.train import TRIALS, run, write_model
from training.recommendation.tuning import Trial, Tuner, tune

NOW = datetime(2026, 11, 24, tzinfo=UTC)
CONFIGURATION = RecommenderConfiguration(tuning_customers=40, k=5, budget_seconds=60)
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
    matrix = Cooccurrence(neighbours=50).fit(prepared).matrix_.tocoo()
    parity = np.array([int(p[1:]) % 2 for p in prepared.meta["product_ids"]])
    assert matrix.nnz
    assert (parity[matrix.row] == parity[matrix.col]).all()


BLENDS = [
    Parameters(recent={"transitions": 1.0, "customers": 0.3}, repeat_weight=0.7),
    Parameters(
        recent={"transitions": 1.0},
        lasting={"customers": 0.4, "spectral": 0.5},
        exclude_seen=True,
        history_power=0.5,
        spectral=SpectralParameters(rank=3),
    ),
    Parameters(
        lasting={"baskets": 1.0}, trend_weight=0.0, decay=1.0, event_weights={"purchase": 2.0}
    ),
]


@pytest.mark.parametrize("parameters", BLENDS)
def test_the_search_scores_as_the_serving_core_does(prepared, tmp_path, parameters):
    past = prepared.take(prepared.split == TRAIN)
    histories = holdout_histories(prepared, VALIDATION, purchase_event="purchase", limit=40, seed=0)
    budget = Budget(Sizes.of(past), Sizes.of(past), len(histories), 60.0)
    tuner = Tuner(past, histories, CONFIGURATION, budget=budget, report=lambda trial: None)
    tuner.parts.rank = parameters.spectral.rank
    blended, pool = tuner.blend(parameters), tuner.pool
    write_model(tmp_path, past, parameters, CONFIGURATION, provenance={"run": "r"})
    recommender = Recommender.open(tmp_path)
    now = datetime.fromtimestamp(prepared.meta["window"]["validation"], UTC)
    for row in range(len(histories)):
        request = ProductRequest(history=events_of(histories, row, prepared, now), limit=20)
        served = recommender.recommend(request, now=now).products
        assert served
        column = {int(code): at for at, code in enumerate(pool.codes[row]) if code >= 0}
        for product in served:
            code = prepared.meta["product_ids"].index(product.product_id)
            expected = blended[row, column[code]] if code in column else 0.0
            assert product.score == pytest.approx(expected, rel=1e-3, abs=1e-4)
        order = [p.score for p in served]
        out = pool.seen[row] if parameters.exclude_seen else np.zeros_like(pool.seen[row])
        best = np.sort(blended[row][(pool.codes[row] >= 0) & ~out])[::-1]
        np.testing.assert_allclose(order, best[: len(order)], rtol=1e-3, atol=1e-4)


def test_factors_of_the_search_are_those_of_the_serving_core(prepared):
    model = ItemFactors(8, iterations=2).fit(prepared)
    histories = holdout_histories(prepared, TEST, purchase_event="purchase", limit=10, seed=0)
    served = Factors.of(factor_arrays(model.item_factors_, model.gram_))
    everything = served.rows(np.arange(prepared.product_count))
    for row, customer in enumerate(fold_in(histories, model)):
        items = np.unique(histories.items[histories.history(row)])
        found = served.fold_in(items, alpha=model.alpha).scores(everything)
        np.testing.assert_allclose(found, model.item_factors_ @ customer, rtol=2e-2, atol=2e-3)


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


def job_of(root: Path, prepared: Prepared) -> Job:
    folder = root / "input" / "data" / "prepared"
    folder.mkdir(parents=True)
    save(prepared, folder)
    settings = to_strings(CONFIGURATION)
    return Job("recommendation.train", root, settings, "acme", "r", "2026-01-01T00:00:00Z")


def test_a_killed_job_s_trials_are_not_measured_again_and_change_nothing(
    prepared, tmp_path, capsys
):
    whole = job_of(tmp_path / "whole", prepared)
    run(whole)
    assert "resumed" not in capsys.readouterr().out
    trials = msgspec.json.decode((whole.checkpoints / TRIALS).read_bytes(), type=list[Trial])
    resumed = job_of(tmp_path / "resumed", prepared)
    (resumed.checkpoints / TRIALS).write_bytes(msgspec.json.encode(trials[:25]))
    run(resumed)
    log = capsys.readouterr().out
    assert '"trials": 25' in log
    assert "best_validation_ndcg=" in log
    for name in ("model", "output/data"):
        one, other = (
            {p.relative_to(r / name): p.read_bytes() for p in (r / name).rglob("*") if p.is_file()}
            for r in (whole.root, resumed.root)
        )
        assert one == other
    assert (resumed.extra_output / TRIALS).exists()


def test_known_trials_are_taken_at_their_word(prepared):
    """So it shows that they are not measured again."""
    first: list[Trial] = []
    tune(prepared, CONFIGURATION, report=first.append)
    told = list(first)
    told[3] = Trial(told[3].change, told[3].parameters, 9.0)
    best = tune(prepared, CONFIGURATION, report=lambda trial: None, known=told)
    assert best.ndcg == 9.0


def test_prepared_data_survives_the_disk(prepared, tmp_path):
    save(prepared, tmp_path)
    found = load(tmp_path)
    np.testing.assert_array_equal(found.items, prepared.items)
    assert found.meta == prepared.meta
