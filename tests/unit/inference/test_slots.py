"""Promotions, diversity, exploration and minimum scores keep their promises, and exclusions win."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.contracts import Recommendation, decode_request
from inference.errors import BadRequestError
from inference.slots import draw
from tests.unit.inference import shop_model, small_model
from tests.unit.inference.shop_model import BRANDS, IDS, NOW, TAGS, Shop

SHOP = shop_model.shop(5)
SHOPS = [SHOP, shop_model.shop(6), shop_model.shop(7, with_factors=True, factor_weight=0.5)]
HISTORY = ["p03", "p08", "p21"]


def ask(shop: Shop = SHOP, decision_id: str = "d", **fields: Any) -> Recommendation:
    request = decode_request({"history": HISTORY, **fields})
    return shop.model.recommend(request, now=NOW, decision_id=decision_id)


def ids(answer: Recommendation) -> list[str]:
    return [product.product_id for product in answer.products]


def item(product_id: str) -> shop_model.Product:
    return SHOP.products[IDS.index(product_id)]


@pytest.mark.parametrize("share", [0.2, 0.25, 0.5, 1.0])
def test_every_prefix_holds_the_promised_share(share: float) -> None:
    answer = ask(limit=10, promote={"share": share, "where": {"brand": "cedar"}})
    cedar = [item(product_id).brand == "cedar" for product_id in ids(answer)]
    available = sum(shop_model.is_available(p) and p.brand == "cedar" for p in SHOP.products)
    for slots in range(1, 11):
        assert sum(cedar[:slots]) >= min(available, math.floor(share * slots + 1e-9))
    assert any(product.promoted for product in answer.products)
    for product in answer.products:
        assert not product.promoted or item(product.product_id).brand == "cedar"


def test_what_is_good_enough_by_itself_counts_for_the_promotion_and_is_not_marked() -> None:
    best = ids(ask(limit=4))
    brand = item(best[0]).brand
    answer = ask(limit=4, promote={"share": 0.25, "where": {"brand": [brand]}})
    assert ids(answer) == best
    assert not any(product.promoted for product in answer.products)


def test_a_promotion_of_nothing_leaves_the_answer_alone() -> None:
    answer = ask(limit=6, promote={"share": 0.5, "where": {"price": {"min": 1000}}})
    assert ids(answer) == ids(ask(limit=6))


def test_at_most_n_of_a_brand_and_a_missing_brand_is_never_counted() -> None:
    answer = ask(limit=12, diversity={"attribute": "brand", "at_most": 2})
    counts = Counter(item(product_id).brand for product_id in ids(answer))
    assert all(counts[brand] <= 2 for brand in BRANDS)
    scores, taken, expected = (
        shop_model.scores(SHOP, [(h, "purchase") for h in HISTORY]),
        Counter(),
        [],
    )
    for code in np.lexsort((np.arange(len(IDS)), -scores)):
        brand = SHOP.products[code].brand
        if shop_model.is_available(SHOP.products[code]) and (brand is None or taken[brand] < 2):
            taken[brand] += 1
            expected.append(IDS[code])
    assert ids(answer) == expected[:12]


def test_at_most_n_of_a_tag_holds_for_every_tag() -> None:
    answer = ask(limit=12, diversity={"attribute": "tags", "at_most": 2})
    counts = Counter(tag for product_id in ids(answer) for tag in item(product_id).tags)
    assert max(counts.values()) <= 2


@pytest.mark.parametrize("attribute", ["brand", "tags", "price", None])
def test_a_trade_off_of_nothing_is_the_ranking_and_more_of_it_is_more_varied(
    attribute: str | None,
) -> None:
    def diversified(weight: float) -> list[str]:
        return ids(ask(limit=6, diversity={"attribute": attribute, "weight": weight}))

    assert diversified(0.0) == ids(ask(limit=6))
    assert diversified(0.7)[0] == ids(ask(limit=1))[0]
    if attribute == "brand":
        brands = {item(product_id).brand for product_id in diversified(0.9)[:3]}
        assert len(brands) == 3


def test_the_trade_off_is_maximal_marginal_relevance() -> None:
    """The first picks follow the formula of Carbonell and Goldstein over brands."""
    base = ask(limit=40)
    score = {product.product_id: product.score for product in base.products}
    chosen: list[str] = []
    for _ in range(5):

        def value(candidate: str) -> float:
            like = any(
                item(candidate).brand is not None and item(candidate).brand == item(shown).brand
                for shown in chosen
            )
            return 0.6 * score[candidate] / base.products[0].score - 0.4 * like

        chosen.append(max((p for p in ids(base) if p not in chosen), key=value))
    assert ids(ask(limit=5, diversity={"attribute": "brand", "weight": 0.4})) == chosen


def test_a_minimum_score_is_kept_and_the_rest_is_marked_or_left_out() -> None:
    scores = [product.score for product in ask(limit=10).products]
    minimum = scores[3]
    filled = ask(limit=10, minimum_score=minimum)
    assert ids(filled)[:4] == ids(ask(limit=4))
    assert [product.fallback for product in filled.products] == [False] * 4 + [True] * 6
    trend = [SHOP.trend[IDS.index(product_id)] for product_id in ids(filled)[4:]]
    assert trend == sorted(trend, reverse=True)
    short = ask(limit=10, minimum_score=minimum, fallback="none")
    assert ids(short) == ids(filled)[:4]
    empty = ask(minimum_score=1e9, fallback="none")
    assert (ids(empty), empty.empty_reason) == ([], "no product is left after: minimum_score")


def test_without_fallback_only_what_the_history_speaks_for_is_shown() -> None:
    answer = ask(history=[], fallback="none")
    assert (ids(answer), answer.empty_reason is None) == ([], False)
    for product in ask(limit=40, fallback="none").products:
        assert {reason.kind for reason in product.reasons} - {"trend"}


NEW = {"share": 0.3, "newer_than_days": 30, "pool": 6}


def test_the_propensity_of_the_first_slot_is_its_frequency() -> None:
    """20,000 decisions: every frequency within five standard errors of its propensity."""
    decisions = 20_000
    counts: Counter[str] = Counter()
    stated: dict[str, float] = {}
    for number in range(decisions):
        first = ask(decision_id=f"d{number}", limit=1, explore=NEW).products[0]
        counts[first.product_id] += 1
        assert stated.setdefault(first.product_id, first.propensity) == first.propensity
    assert len(stated) == 7 or len(stated) == 6
    assert sum(stated.values()) == pytest.approx(1.0)
    for product_id, propensity in stated.items():
        error = math.sqrt(propensity * (1 - propensity) / decisions)
        assert abs(counts[product_id] / decisions - propensity) < 5 * error


def test_the_propensity_of_a_later_slot_is_its_frequency_given_those_above() -> None:
    """Promotion and quota at once; groups of decisions that agree on the first two slots."""
    fields: dict[str, Any] = {
        "limit": 3,
        "explore": {**NEW, "share": 0.5, "pool": 3},
        "diversity": {"attribute": "brand", "at_most": 2},
        "promote": {"share": 0.5, "where": {"brand": "ash"}},
    }
    groups: dict[tuple[str, ...], Counter[str]] = {}
    stated: dict[tuple[str, ...], float] = {}
    for number in range(4_000):
        answer = ask(decision_id=f"e{number}", **fields)
        above, third = tuple(ids(answer)[:2]), answer.products[2]
        groups.setdefault(above, Counter())[third.product_id] += 1
        key = (*above, third.product_id)
        assert stated.setdefault(key, third.propensity) == third.propensity
    for above, counts in groups.items():
        total = counts.total()
        if total < 300:
            continue
        assert sum(stated[(*above, third)] for third in counts) == pytest.approx(1.0)
        for third, count in counts.items():
            propensity = stated[(*above, third)]
            error = math.sqrt(propensity * (1 - propensity) / total)
            assert abs(count / total - propensity) <= 5 * error + 1e-12


def test_new_is_of_the_last_thirty_days_unless_told_otherwise() -> None:
    fields = {"share": 1.0, "pool": 40}
    assert ask(limit=8, explore=fields) == ask(limit=8, explore={**fields, "newer_than_days": 30})
    assert ask(limit=8, explore=fields) != ask(limit=8, explore={**fields, "newer_than_days": 3})


def test_the_same_decision_id_draws_the_same_and_can_be_derived_again() -> None:
    assert ask(limit=8, explore=NEW) == ask(limit=8, explore=NEW)
    drawn = [draw("d", slot) for slot in range(1000)]
    assert all(0 <= u < 1 for u in drawn)
    assert abs(float(np.mean(drawn)) - 0.5) < 0.05
    answer = ask(limit=8, explore={**NEW, "share": 0.5})
    explored = [product.explored for product in answer.products]
    assert explored == [draw("d", slot) < 0.5 for slot in range(len(explored))]


def test_exploring_needs_to_know_what_is_new() -> None:
    request = decode_request({"explore": {"share": 0.5}})
    with pytest.raises(BadRequestError, match="no available_from") as caught:
        small_model.recommender().recommend(request, now=NOW)
    assert caught.value.path == "$.explore.where"
    named = decode_request({"explore": {"share": 1.0, "where": {"colour": "red"}}, "limit": 1})
    (product,) = small_model.recommender().recommend(named, now=NOW).products
    assert (product.product_id, product.explored, product.propensity) == ("apple", True, 1.0)


FIELDS = st.fixed_dictionaries(
    {"history": st.lists(st.sampled_from(IDS), max_size=6), "limit": st.integers(1, 20)},
    optional={
        "promote": st.fixed_dictionaries(
            {
                "share": st.sampled_from([0.1, 0.5, 1.0]),
                "where": st.sampled_from([{"brand": "ash"}, {"tags": ["sale"]}, {}]),
            }
        ),
        "explore": st.fixed_dictionaries({"share": st.sampled_from([0.0, 0.5, 1.0])}),
        "diversity": st.sampled_from(
            [
                {"attribute": "brand", "at_most": 1},
                {"attribute": "tags", "weight": 0.5},
                {"weight": 0.9},
                {"attribute": "price", "at_most": 2, "weight": 0.3},
            ]
        ),
        "minimum_score": st.sampled_from([0.0, 0.3, 2.0]),
        "fallback": st.sampled_from(["trend", "none"]),
        "exclude": st.sampled_from([{"brand": "ash"}, {"tags": "gift"}]),
        "include": st.sampled_from([{"price": {"max": 5}}, {"tags": {"any": TAGS[:2]}}]),
        "exclude_products": st.lists(st.sampled_from(IDS), max_size=20),
        "exclude_purchased": st.just(True),
        "include_products": st.lists(st.sampled_from(IDS), max_size=30),
    },
)


@settings(max_examples=250, deadline=None)
@given(shop=st.sampled_from(SHOPS), fields=FIELDS, decision_id=st.text(max_size=3))
def test_no_rule_ever_shows_what_is_excluded(
    shop: Shop, fields: dict[str, Any], decision_id: str
) -> None:
    answer = ask(shop, decision_id, **fields)
    found = ids(answer)
    assert len(set(found)) == len(found) <= fields["limit"]
    banned = set(fields.get("exclude_products", []))
    if "exclude_purchased" in fields:
        banned |= set(fields["history"])
    counts: Counter[Any] = Counter()
    for product in answer.products:
        facts = shop.products[IDS.index(product.product_id)]
        assert product.product_id not in banned
        assert product.product_id in fields.get("include_products", IDS)
        assert shop_model.is_available(facts)
        assert all(shop_model.matches(facts, *f) for f in fields.get("include", {}).items())
        assert not any(shop_model.matches(facts, *f) for f in fields.get("exclude", {}).items())
        parts = sum(reason.contribution for reason in product.reasons)
        assert parts == pytest.approx(product.score, abs=1e-9)
        assert 0 < product.propensity <= 1
        counts[facts.brand] += 1
    if fields.get("diversity") == {"attribute": "brand", "at_most": 1}:
        assert all(counts[brand] <= 1 for brand in BRANDS)


def test_a_share_of_nothing_explores_nothing_even_where_nothing_else_is_left() -> None:
    fields: dict[str, Any] = {"minimum_score": 99.0, "fallback": "none", "limit": 3}
    new = {"where": {"price": {"min": 0}}}
    assert ask(**fields, explore={"share": 0.0, **new}).products == []
    explored = ask(**fields, explore={"share": 0.1, **new}).products
    assert explored
    assert all(product.explored for product in explored)


def test_the_trade_off_of_a_ranked_list_reaches_all_of_it() -> None:
    shown = [p for p, item in zip(IDS, SHOP.products, strict=True) if shop_model.is_available(item)]
    fields: dict[str, Any] = {"decision": "rank", "products": shown}
    answer = ask(**fields, diversity={"weight": 0.5, "attribute": "brand"})
    assert sorted(ids(answer)) == sorted(shown)
    assert ids(answer) != ids(ask(**fields))
