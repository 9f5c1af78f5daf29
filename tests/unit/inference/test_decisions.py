"""Every decision and every field of its request, against what a person would compute."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.contracts import Recommendation, decode_request
from inference.errors import BadRequestError
from tests.unit.inference import shop_model
from tests.unit.inference.shop_model import IDS, NOW, Shop

SHOP = shop_model.shop(11)
HISTORY = ["p03", "p08", "p21"]


def ask(shop: Shop = SHOP, **fields: Any) -> Recommendation:
    request = decode_request({"include_unavailable": True, **fields})
    return shop.model.recommend(request, now=NOW)


def ids(answer: Recommendation) -> list[str]:
    return [product.product_id for product in answer.products]


def best(scores: np.ndarray, *, without: tuple[str, ...] = ()) -> list[str]:
    order = np.lexsort((np.arange(len(scores)), -scores))
    return [IDS[code] for code in order if IDS[code] not in without]


def test_a_basket_is_the_mean_of_its_products_and_shows_none_of_them() -> None:
    basket = ["p01", "p02", "p30"]
    codes = [IDS.index(product_id) for product_id in basket]
    expected = (SHOP.recent[codes] + 0.6 * SHOP.lasting[codes]).mean(axis=0) + 0.05 * SHOP.trend
    answer = ask(context_products=basket, history=HISTORY, limit=8)
    assert ids(answer) == best(expected, without=tuple(basket))[:8]
    assert {r.kind for r in answer.products[0].reasons} <= {"context", "trend"}
    one = ask(context_product="p01", limit=8)
    assert one == ask(context_products=["p01"], limit=8)


def test_similar_products_are_the_lasting_neighbours_alone() -> None:
    answer = ask(decision="similar", product="p07", limit=100)
    lasting = SHOP.lasting[7]
    assert ids(answer) == [p for p in best(lasting) if lasting[IDS.index(p)] > 0]
    assert [r.kind for r in answer.products[0].reasons] == ["similar"]
    assert answer.products[0].reasons[0].product_id == "p07"
    unknown = ask(decision="similar", product="never made")
    assert (ids(unknown), unknown.unknown_products) == ([], ["never made"])
    assert unknown.empty_reason == "no product is left after: what is like 'never made'"


def test_ranking_keeps_the_list_and_orders_it_by_the_same_scores() -> None:
    given = ["p39", "p00", "gone", "p21", "p05", "p00", "p12"]
    answer = ask(decision="rank", products=given, history=HISTORY)
    scores = shop_model.scores(SHOP, [(product_id, "purchase") for product_id in HISTORY])
    assert ids(answer) == [p for p in best(scores) if p in given]
    assert answer.unknown_products == ["gone"]
    everything = {p.product_id: p.score for p in ask(history=HISTORY, limit=40).products}
    for product in answer.products:
        assert product.score == pytest.approx(everything[product.product_id], abs=1e-12)
    assert len(ids(ask(decision="rank", products=IDS[:30]))) == 30
    assert len(ids(ask(decision="rank", products=IDS[:30], limit=4))) == 4


def test_every_list_of_a_request_tells_what_the_model_does_not_know() -> None:
    answer = ask(
        history=["a"],
        context_product="b",
        context_products=["c", "p01"],
        include_products=["d", "p02", "a"],
        exclude_products=["e", "p03"],
    )
    assert answer.unknown_products == ["a", "b", "c", "d", "e"]


def test_ranking_leaves_out_only_what_the_request_excludes() -> None:
    shop = shop_model.shop(11, exclude_seen=True)
    assert set(ids(ask(shop, decision="rank", products=HISTORY, history=HISTORY))) == set(HISTORY)
    assert not set(ids(ask(shop, history=HISTORY, limit=40))) & set(HISTORY)
    assert set(HISTORY) <= set(ids(ask(shop, history=HISTORY, exclude_seen=False, limit=40)))


def test_trending_is_the_prior_under_filters() -> None:
    answer = ask(decision="trending", limit=5, exclude={"brand": "ash"})
    allowed = [c for c, item in enumerate(SHOP.products) if item.brand != "ash"]
    expected = [p for p in best(SHOP.trend) if IDS.index(p) in allowed][:5]
    assert ids(answer) == expected
    assert answer.fallback is None
    assert answer.products[0].score == pytest.approx(SHOP.trend[IDS.index(expected[0])])


def days_ago(product_id: str, days: float, event: str = "purchase") -> dict[str, Any]:
    time = (NOW - timedelta(days=days)).isoformat()
    return {"product_id": product_id, "event": event, "timestamp": time}


def test_a_repeat_window_hides_what_was_bought_within_it() -> None:
    history = [days_ago("p01", 40), days_ago("p02", 29), days_ago("p03", 2, "view"), "p04"]
    shown = set(ids(ask(history=history, repeat_after_days=30, limit=40)))
    assert {"p01", "p03"} <= shown
    assert not {"p02", "p04"} & shown  # what has no time may have been bought yesterday


def test_buy_again_offers_only_what_was_bought() -> None:
    history = [days_ago("p01", 40), days_ago("p02", 5), days_ago("p03", 2, "view")]
    assert ids(ask(history=history, buy_again=True)) == ["p02", "p01"]
    assert ids(ask(history=history, buy_again=True, repeat_after_days=30)) == ["p01"]
    without_repeats = shop_model.shop(11, repeat_weight=0.0, exclude_seen=True)
    assert set(ids(ask(without_repeats, history=history, buy_again=True))) == {"p01", "p02"}
    nothing = ask(buy_again=True)
    assert (ids(nothing), nothing.empty_reason) == ([], "no product is left after: buy_again")


def test_event_weights_of_the_request_go_before_the_model_s() -> None:
    history = [
        {"product_id": "p01", "event": "view"},
        {"product_id": "p02", "event": "purchase"},
    ]
    muted = ask(history=history, event_weights={"view": 0.0, "purchase": 1.0}, limit=5)
    scores = shop_model.scores(
        shop_model.shop(11, event_weights={"view": 0.0}), [("p01", "view"), ("p02", "purchase")]
    )
    assert ids(muted) == best(scores)[:5]
    assert muted != ask(history=history, limit=5)


def test_what_is_not_available_is_not_shown_unless_asked_for() -> None:
    shown = ids(ask(limit=100, include_unavailable=False))
    assert {IDS.index(p) for p in shown} == {
        code for code, item in enumerate(SHOP.products) if shop_model.is_available(item)
    }
    assert len(ids(ask(limit=100))) == len(IDS)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"decision": "trending", "product": "p01"}, "$.product"),
        ({"products": ["p01"]}, "$.products"),
        ({"decision": "similar"}, "$.product"),
        ({"decision": "rank"}, "$.products"),
        ({"decision": "rank", "products": ["p01"], "context_product": "p02"}, "$.context_product"),
        ({"decision": "similar", "product": "p01", "fallback": "none"}, "$.fallback"),
        ({"decision": "trending", "buy_again": True}, "$.buy_again"),
        ({"decision": "trending", "event_weights": {"view": 0.1}}, "$.event_weights"),
        (
            {"decision": "similar", "product": "p01", "event_weights": {"view": 0.1}},
            "$.event_weights",
        ),
        (
            {"explore": {"share": 0.5, "where": {"brand": "ash"}, "newer_than_days": 30}},
            "$.explore.newer_than_days",
        ),
        ({"buy_again": True, "exclude_purchased": True}, "$.buy_again"),
        ({"diversity": {}}, "$.diversity"),
        ({"diversity": {"at_most": 2}}, "$.diversity"),
        ({"decision": "guess"}, "$.decision"),
        ({"event_weights": {"view": -1}}, "$.event_weights[...]"),
        ({"promote": {"share": 2, "where": {}}}, "$.promote.share"),
        ({"promote": {"share": 0.5, "where": {"bland": "x"}}}, "$.promote.where.bland"),
        ({"explore": {"share": 0.5, "where": {"bland": "x"}}}, "$.explore.where.bland"),
        ({"diversity": {"attribute": "bland", "at_most": 1}}, "$.diversity.attribute"),
    ],
)
def test_fields_that_do_not_belong_are_refused_with_their_path(
    fields: dict[str, Any], path: str
) -> None:
    with pytest.raises(BadRequestError) as caught:
        ask(**fields)
    assert caught.value.path == path


@pytest.mark.parametrize("decision", [{"decision": "trending"}, {"decision": "similar"}])
def test_what_was_bought_is_left_out_of_every_decision(decision: dict[str, Any]) -> None:
    fields = {**decision, **({"product": "p07"} if decision["decision"] == "similar" else {})}
    first = ids(ask(**fields))[0]
    assert ids(ask(history=[first], **fields))[0] == first
    for rule in ({"repeat_after_days": 30}, {"exclude_purchased": True}, {"exclude_seen": True}):
        assert first not in ids(ask(history=[first], **fields, **rule))


def factor_part(shop: Shop, history: list[int], alpha: float) -> np.ndarray:
    """f of every product by the normal equations."""
    assert shop.factors is not None
    assert shop.gram is not None
    seen = shop.factors[sorted(set(history))]
    system = shop.gram + alpha * seen.T @ seen
    return shop.factors @ np.linalg.solve(system, (1 + alpha) * seen.sum(axis=0))


@settings(max_examples=60, deadline=None)
@given(
    history=st.lists(st.sampled_from(IDS), min_size=1, max_size=6),
    candidates=st.sampled_from([8, 25, 40]),
)
def test_factors_rerank_the_best_candidates(history: list[str], candidates: int) -> None:
    shop = shop_model.shop(
        3, with_factors=True, factor_weight=0.7, factor_alpha=5.0, rerank_candidates=candidates
    )
    scores = shop_model.scores(shop, [(product_id, "purchase") for product_id in history])
    pool = np.lexsort((np.arange(len(IDS)), -scores))[:candidates]
    f = factor_part(shop, [IDS.index(product_id) for product_id in history], 5.0)
    means = [np.sort(values)[-50:].mean() for values in (scores[pool], f[pool])]
    scale = 0.7 * means[0] / means[1] if min(means) > 0 else 0.0
    expected = np.sort(scores[pool] + scale * f[pool])[::-1][:8]
    answer = ask(shop, history=history, limit=8)
    assert [p.score for p in answer.products] == pytest.approx(
        expected, rel=1e-2, abs=5e-3 * abs(scale)
    )
    for product in answer.products:
        parts = sum(reason.contribution for reason in product.reasons)
        assert parts == pytest.approx(product.score, abs=1e-9)


def test_a_product_scores_the_same_whatever_else_is_excluded() -> None:
    """The scale of the factors once came from what the request had left over."""
    shop = shop_model.shop(3, with_factors=True, factor_weight=0.7, factor_alpha=5.0)
    history = ["p03", "p08", "p21"]
    plain = ask(shop, history=history, limit=12).products
    scores = {product.product_id: product.score for product in plain}
    out = [product.product_id for product in plain[:4]]
    rest = ask(shop, history=history, limit=8, exclude_products=out).products
    assert [product.product_id for product in rest] == [p.product_id for p in plain[4:]]
    for product in rest:
        assert product.score == pytest.approx(scores[product.product_id], abs=1e-12)


def test_a_model_that_leaves_out_what_was_seen_scales_its_factors_without_it() -> None:
    shop = shop_model.shop(4, with_factors=True, factor_weight=0.5, exclude_seen=True)
    history = ["p03", "p08", "p21"]
    usual = {p.product_id: p.score for p in ask(shop, history=history, limit=8).products}
    assert not set(history) & set(usual)
    more = ask(shop, history=history, limit=8, exclude_products=[next(iter(usual))]).products
    for product in more[:7]:
        assert product.score == pytest.approx(usual[product.product_id], abs=1e-12)


def test_what_sells_weighs_otherwise_where_what_was_seen_is_excluded() -> None:
    shop = shop_model.shop(8, new_trend_weight=3.0)
    history = ["p03", "p08"]
    for fields, weight in (({}, 0.05), ({"exclude_purchased": True}, 3.0)):
        answer = ask(shop, history=history, limit=5, **fields)
        for product in answer.products:
            trend = [r.contribution for r in product.reasons if r.kind == "trend"]
            expected = weight * shop.trend[IDS.index(product.product_id)]
            assert trend == pytest.approx([expected]) or expected == 0


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["minimum_score", "repeat_after_days"])
def test_a_number_that_is_none_is_refused(name: str, number: float) -> None:
    with pytest.raises(BadRequestError) as caught:
        ask(**{name: number})
    assert caught.value.path == f"$.{name}"


def test_similar_to_nothing_known_is_empty_and_falls_back_on_nothing() -> None:
    answer = ask(decision="similar", product="nobody knows it", history=[])
    assert answer.products == []
    assert answer.fallback is None
    assert answer.unknown_products == ["nobody knows it"]
