"""The serving core against brute force, and its answers to requests good and bad."""

import base64
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference import artifact
from inference.contracts import ProductRequest, decode_request
from inference.errors import BadRequestError, GoldenMismatchError
from inference.handlers.gateway import body_of
from inference.handlers.next_best_product import Service
from inference.handlers.verify_release import verify
from inference.neighbours import neighbour_arrays
from inference.recommender import Recommender
from tests.unit.inference.stored_neighbours import csr_arrays

N = 12
NOW = datetime(2026, 11, 24, tzinfo=UTC)
IDS = [f"p{n}" for n in range(N)]
SERVING = {"neighbours_weight": 1.0, "repeat_weight": 0.7, "trend_weight": 0.3, "decay": 0.8}


def dense_matrix():
    rng = np.random.default_rng(3)
    matrix = rng.random((N, N)) * (rng.random((N, N)) < 0.4)
    np.fill_diagonal(matrix, 0)
    return matrix.astype(np.float32)


def stored_arrays():
    matrix = dense_matrix()
    rows, columns = np.nonzero(matrix)
    indptr = np.concatenate(([0], np.cumsum(np.bincount(rows, minlength=N))))
    return neighbour_arrays(indptr, columns, matrix[rows, columns], width=N)


def stored_matrix():
    """The matrix to the sixteen bits that are served."""
    indptr, indices, values = csr_arrays(stored_arrays())
    matrix = np.zeros((N, N))
    matrix[np.repeat(np.arange(N), np.diff(indptr)), indices] = values
    return matrix


@pytest.fixture(scope="module")
def recommender(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    trend = np.linspace(1, 0.05, N, dtype=np.float32)
    artifact.write(
        folder,
        manifest={"kind": "recommender", "serving": SERVING},
        arrays={
            **stored_arrays(),
            "trend": trend,
            "trend_order": np.argsort(-trend, kind="stable").astype(np.int32),
            "attribute_0": (np.arange(N) % 3).astype(np.int32),
        },
        tables={
            "product_ids": IDS,
            "attributes": {
                "colour": {"type": "category", "array": "attribute_0", "values": ["r", "g", "b"]}
            },
        },
    )
    return Recommender.open(folder)


def brute_force(history, limit, banned, colours):
    matrix, scores = stored_matrix(), 0.3 * np.linspace(1, 0.05, N).astype(np.float32)
    scores = scores.astype(float)
    if history:
        weights = 0.8 ** np.arange(len(history) - 1, -1, -1)
        scores = scores + (weights / weights.sum()) @ matrix[history]
        recency = np.bincount(
            history, weights=0.98 ** np.arange(len(history) - 1, -1, -1), minlength=N
        )
        scores = scores + 0.7 * recency / recency.max()
    allowed = [i for i in range(N) if i not in banned and (not colours or "rgb"[i % 3] in colours)]
    order = sorted(allowed, key=lambda i: -scores[i])[:limit]
    return [(IDS[i], scores[i]) for i in order]


@settings(deadline=None, max_examples=200)
@given(
    history=st.lists(st.integers(0, N - 1), max_size=8),
    limit=st.integers(1, N + 3),
    banned=st.sets(st.integers(0, N - 1), max_size=6),
    colours=st.lists(st.sampled_from("rgb"), max_size=2, unique=True),
)
def test_top_k_equals_brute_force_and_reasons_sum(recommender, history, limit, banned, colours):
    request = ProductRequest(
        history=[IDS[i] for i in history],
        limit=limit,
        exclude_products=[IDS[i] for i in banned],
        include={"colour": colours} if colours else {},
    )
    answer = recommender.recommend(request, now=NOW)
    expected = brute_force(history, limit, banned, colours)
    found = [product.score for product in answer.products]
    np.testing.assert_allclose(found, [score for _, score in expected], rtol=1e-6)
    for product in answer.products:
        total = sum(reason.contribution for reason in product.reasons)
        assert total == pytest.approx(product.score, rel=1e-9)
    assert (answer.empty_reason is None) == bool(answer.products)


def test_a_context_product_gives_what_goes_with_it(recommender):
    answer = recommender.recommend(ProductRequest(context_product="p1", limit=3), now=NOW)
    assert "p1" not in {product.product_id for product in answer.products}
    assert {r.kind for p in answer.products for r in p.reasons} <= {"context", "trend"}
    assert answer.fallback is None


def test_purchases_can_be_excluded_and_views_stay(recommender):
    request = decode_request(
        {"history": ["p0", {"product_id": "p1", "event": "view"}], "exclude_purchased": True}
    )
    found = {p.product_id for p in recommender.recommend(request, now=NOW).products}
    assert "p0" not in found
    assert "p1" in found


def test_an_unknown_attribute_names_the_nearest(recommender):
    with pytest.raises(BadRequestError, match="did you mean 'colour'") as caught:
        recommender.recommend(ProductRequest(include={"color": "r"}), now=NOW)
    assert caught.value.path == "$.include.color"


@pytest.mark.parametrize(
    ("request_", "path"),
    [
        ({"limit": 101}, "$.limit"),
        ({"limit": "5"}, "$.limit"),
        ({"history": ["a", ""]}, "$.history[1]"),
        ({"history": [{"product_id": 5}]}, "$.history[0].product_id"),
        ({"history": ["a"] * 1001}, "$.history"),
        ({"nonsense": 1}, "$"),
        (b"{", "$"),
        (b"\xff", "$"),
        (None, "$"),
    ],
)
def test_bad_requests_name_the_path(request_, path):
    with pytest.raises(BadRequestError) as caught:
        decode_request(request_)
    assert caught.value.path == path


def test_the_service_answers_good_and_bad_as_plain_json(recommender):
    service = Service(recommender, tenant="t", run="r", version="7")
    good = service.answer({"history": ["p0"]}, now=NOW, decision_id="d")
    assert (good["decision_id"], good["model_version"]) == ("d", "7")
    assert json.loads(json.dumps(good)) == good
    bad = service.answer({"limit": 0}, now=NOW, decision_id="d")
    assert bad["error"]["status"] == 400


def test_api_gateway_bodies_may_be_base64():
    event = {"body": base64.b64encode(b'{"limit": 3}').decode(), "isBase64Encoded": True}
    assert decode_request(body_of(event)).limit == 3


class FakeLambda:
    def __init__(self, answer, **more):
        self.reply = {"Payload": self, **more}
        self.answer = answer

    def invoke(self, **_):
        return self.reply

    def read(self):
        return json.dumps(self.answer).encode()


class FakeS3:
    def __init__(self, cases):
        self.cases = cases

    def get_object(self, **_):
        return {"Body": self}

    def read(self):
        return json.dumps(self.cases).encode()


EVENT = {"function": "f", "qualifier": "1", "golden": "s3://b/k"}
CASE = {"request": {}, "response": {"products": [{"product_id": "a", "score": 1.0}]}}


def test_equal_answers_verify():
    lambdas = FakeLambda({"products": [{"product_id": "a", "score": 1.0000001}]})
    assert verify(EVENT, s3=FakeS3([CASE]), lambdas=lambdas) == {"compared": 1}


@pytest.mark.parametrize(
    ("cases", "lambdas"),
    [
        ([], FakeLambda({})),
        ([CASE], FakeLambda({"products": []})),
        ([CASE], FakeLambda({"products": [{"product_id": "b", "score": 1.0}]})),
        ([CASE], FakeLambda({"products": [{"product_id": "a", "score": 1.01}]})),
        ([CASE], FakeLambda({"errorType": "ArtifactError"}, FunctionError="Unhandled")),
    ],
)
def test_anything_else_is_a_mismatch(cases, lambdas):
    with pytest.raises(GoldenMismatchError):
        verify(EVENT, s3=FakeS3(cases), lambdas=lambdas)
