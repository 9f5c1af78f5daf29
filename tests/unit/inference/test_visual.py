"""similar-products: by product, by picture, filters; the search finds what brute force finds."""

from __future__ import annotations

import base64
import struct
import zlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxruntime", reason="the image model's extra is not installed: make images")
pytest.importorskip("onnx", reason="the image model's extra is not installed: make images")

from hypothesis import given, settings
from hypothesis import strategies as st

from inference.errors import ArtifactError, BadRequestError
from inference.handlers import similar_products
from inference.handlers.similar_products import Service
from inference.images import MAXIMUM_PIXELS
from inference.live_products import LiveModel, ProductState, ProductStoreError
from inference.nearest import Nearest
from inference.picture_store import PictureStore
from inference.visual import Visual
from inference.visual_contracts import decode_similar_request
from tests.unit.inference import picture_model
from tests.unit.inference.handlers.lambda_process import gateway, lambda_process

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return picture_model.write(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def visual(model: Path) -> Visual:
    return Visual.open(model)


def ask(visual: Visual, **fields: Any) -> list[str]:
    found = visual.similar(decode_similar_request(fields), now=NOW)
    return [product.product_id for product in found.products]


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def test_a_products_look_alikes_are_nearest_first_and_not_itself(visual: Visual) -> None:
    assert ask(visual, product="red", limit=2) == ["rose", "lime"]
    assert ask(visual, product="blue", limit=1) == ["navy"]


def test_what_became_unavailable_is_not_shown(visual: Visual) -> None:
    gone = visual.changed_by([ProductState("rose", available=False), ProductState("no such")])
    assert ask(gone, product="red", limit=1) == ["lime"]
    assert ask(gone, product="red", limit=1, include_unavailable=True) == ["rose"]
    assert ask(visual, product="red", limit=1) == ["rose"]


def test_a_table_of_changes_that_fails_degrades_the_answer(visual: Visual) -> None:
    class Silent:
        def since(self, moment: float) -> list[ProductState]:
            raise ProductStoreError("did not answer")

    live = LiveModel(visual, Silent(), clock=lambda: 0.0)
    service = Service(visual, tenant="acme", run="r", version="1", live=live)
    found = service.answer({"product": "red", "limit": 1}, now=NOW, decision_id="d")
    assert found["degraded"]
    assert found["products"][0]["product_id"] == "rose"
    replay = {"product": "red", "now": NOW.isoformat()}
    assert not service.answer(replay, now=NOW, decision_id="d")["degraded"]


def test_a_picture_finds_its_colour_and_what_the_model_takes_it_for(visual: Visual) -> None:
    content = picture_model.picture((240, 0, 0), format="JPEG", quality=95)
    found = visual.similar(decode_similar_request({"image": encoded(content), "limit": 1}), now=NOW)
    assert found.products[0].product_id == "red"
    assert found.products[0].similarity == pytest.approx(1.0, abs=0.01)
    assert next(iter(found.labels["hue"])) == "reddish"
    assert sum(found.labels["hue"].values()) == pytest.approx(1.0, abs=1e-5)


def test_filters_and_exclusions_hold(visual: Visual) -> None:
    assert set(ask(visual, product="red", include={"shade": "pale"})) == {"rose", "lime", "navy"}
    assert "rose" not in ask(visual, product="red", exclude_products=["rose"])
    found = visual.similar(
        decode_similar_request({"product": "red", "include": {"shade": "none such"}}), now=NOW
    )
    assert (found.products, found.empty_reason) == ([], "no product is left after: include")


def test_an_unknown_product_is_named(visual: Visual) -> None:
    found = visual.similar(decode_similar_request({"product": "mauve"}), now=NOW)
    assert (found.products, found.unknown_products) == ([], ["mauve"])
    assert "mauve" in str(found.empty_reason)
    asked = decode_similar_request({"product": "red", "exclude_products": ["mauve", "rose"]})
    assert visual.similar(asked, now=NOW).unknown_products == ["mauve"]


def bomb() -> bytes:
    """A PNG of a few kilobytes whose header promises more pixels than are decoded."""
    side = int(MAXIMUM_PIXELS**0.5) + 1
    return picture_model.picture((255,), mode="L", size=(side, side), compress_level=9)


def png_header(side: int) -> bytes:
    """A PNG that says how large it is, and has no pixels."""
    size = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", size) + png_chunk(b"IDAT", b"")


def png_chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [8_000, 10_000, 50_000])
def test_a_picture_of_too_many_pixels_is_told_our_bound(visual: Visual, side: int) -> None:
    """Regression: above 178,956,970 pixels Pillow spoke first, with a bound of its own."""
    service = Service(visual, tenant="acme", run="run-1", version="7")
    payload = {"image": encoded(png_header(side))}
    message = service.answer(payload, now=NOW, decision_id="d")["error"]["message"]
    assert f"at most {MAXIMUM_PIXELS:,} are decoded" in message


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ({}, "$"),
        ({"product": "red", "image": "AAAA"}, "$.image"),
        ({"image": "no base64!"}, "$.image"),
        ({"image": encoded(b"no picture")}, "$.image"),
        ({"image": encoded(b"GIF89a")}, "$.image"),
        ({"image": encoded(bomb())}, "$.image"),
        ({"image_key": "tenants/other/picture.png"}, "$.image_key"),
        ({"product": "red", "limit": 0}, "$.limit"),
        ({"product": "red", "include": {"shad": "full"}}, "$.include.shad"),
        ({"product": 7}, "$.product"),
    ],
)
def test_a_bad_request_is_an_answer(visual: Visual, payload: dict[str, Any], path: str) -> None:
    service = Service(visual, tenant="acme", run="run-1", version="7")
    error = service.answer(payload, now=NOW, decision_id="d")["error"]
    assert (error["status"], error["path"]) == (400, path)


@pytest.mark.parametrize(
    "content",
    [
        picture_model.picture((200, 0, 0, 255), size=(9, 30)),
        picture_model.picture((0, 255, 255, 20), format="JPEG", mode="CMYK"),
        picture_model.picture((200,), mode="I;16"),
        picture_model.picture((250, 0, 0), format="GIF", save_all=True, append_images=[]),
        picture_model.picture((250, 0, 0), format="BMP"),
    ],
    ids=["transparent", "CMYK", "16 bits", "GIF", "BMP"],
)
def test_pictures_of_every_kind_are_seen(visual: Visual, content: bytes) -> None:
    assert len(ask(visual, image=encoded(content), limit=3)) == 3


def test_a_key_outside_the_tenants_prefix_is_refused() -> None:
    store = PictureStore(bucket="b", prefix="tenants/acme/", s3=None)
    for key in ("tenants/other/x.png", "tenants/acme/../other/x.png", "code/x.zip"):
        with pytest.raises(BadRequestError, match="tenants/acme/"):
            store.fetch(key)


def test_the_lambda_answers_both_kinds_of_event(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with lambda_process(similar_products, model, tmp_path=tmp_path, monkeypatch=monkeypatch):
        answer = similar_products.handler({"product": "red", "limit": 1}, None)
        assert answer["products"][0]["product_id"] == "rose"
        assert (answer["tenant"], answer["model_version"]) == ("acme", "7")
        reply = similar_products.handler(gateway('{"image_key": "tenants/acme/none.png"}'), None)
        assert reply["statusCode"] == 400


def test_a_model_without_its_graphs_is_refused(model: Path, tmp_path: Path) -> None:
    picture_model.write(tmp_path)
    (tmp_path / "search.onnx").write_bytes(b"altered")
    with pytest.raises(ArtifactError, match=r"search\.onnx"):
        Visual.open(tmp_path)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 400), limit=st.integers(1, 100))
def test_the_search_finds_what_brute_force_finds(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, limit: int
) -> None:
    rng = np.random.default_rng(seed)
    embeddings = rng.standard_normal((count, 16)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    visual = Visual.open(picture_model.write(tmp_path_factory.mktemp("m"), embeddings))
    wanted = (np.arange(count) % 2 == 1) & (np.arange(count) != 0)
    found = visual.similar(
        decode_similar_request(
            {"product": "p0", "include": {"shade": "pale"}, "limit": limit},
        ),
        now=NOW,
    )
    cosines = np.where(wanted, embeddings @ embeddings[0], -np.inf)
    order = np.argsort(-cosines, kind="stable")[: min(limit, int(wanted.sum()))]
    assert [p.product_id for p in found.products] == [f"p{code}" for code in order]


@pytest.mark.parametrize("spread", [0.7, 0.1], ids=["loose classes", "tight classes"])
def test_the_int8_search_and_its_ranking_recall_the_ten_nearest(
    spread: float, tmp_path: Path
) -> None:
    """Tight classes are what a trained network makes; rounding alone would hide who is near."""
    rng = np.random.default_rng(1)
    centres = rng.standard_normal((10, 64))
    embeddings = centres[rng.integers(0, 10, 20_000)] + spread * rng.standard_normal((20_000, 64))
    embeddings = (embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)).astype(np.float32)
    nearest = Visual.open(picture_model.write(tmp_path, embeddings)).nearest
    hits = 0
    for code in range(100):
        exact = np.argsort(-(embeddings @ embeddings[code]), kind="stable")[1:11]
        items, _ = nearest.find(embeddings[code], 10, without=[code])
        hits += len(set(items.tolist()) & set(exact.tolist()))
    assert hits >= 999


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Nearest:
    rng = np.random.default_rng(3)
    embeddings = rng.standard_normal((6_000, 16)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    return Visual.open(picture_model.write(tmp_path_factory.mktemp("many"), embeddings)).nearest


@settings(max_examples=60, deadline=None)
@given(
    code=st.integers(0, 5_999),
    count=st.integers(1, 100),
    share=st.sampled_from([0.0, 0.001, 0.02, 0.3, 0.9]),
    banned=st.integers(0, 2_000),
)
def test_whatever_share_may_be_shown_the_nearest_of_it_are_found(
    many: Nearest, code: int, count: int, share: float, banned: int
) -> None:
    """The shortlist, the wider one and all products: each is asked at some of these shares."""
    cosines = many.embeddings @ many.embeddings[code]
    may = np.random.default_rng(code).random(6_000) < share
    without = np.argsort(-cosines)[:banned]
    items, found = many.find(
        many.embeddings[code], count, allowed=lambda codes: may[codes], without=without.tolist()
    )
    may[without] = False
    exact = np.argsort(np.where(may, -cosines, np.inf), kind="stable")[: min(count, may.sum())]
    assert items.tolist() == exact.tolist()
    assert found == pytest.approx(cosines[exact], abs=1e-6)


def test_products_with_one_picture_come_in_the_order_of_the_catalogue(tmp_path: Path) -> None:
    embeddings = np.tile(np.array([[0.6, 0.8]], dtype=np.float32), (50, 1))
    nearest = Visual.open(picture_model.write(tmp_path, embeddings)).nearest
    assert nearest.find(embeddings[0], 5, without=[1])[0].tolist() == [0, 2, 3, 4, 5]
