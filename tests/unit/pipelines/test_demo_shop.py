"""The simulated shop: its pictures tell what the catalogue does not, and its newest are unknown."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipelines.demo import pictures
from pipelines.demo.shop import END, STYLES, THINGS, simulate_shop, write_shop

pytest.importorskip("PIL", reason="Pillow draws the pictures: pip install pillow")


def drawn(look: tuple[float, float, float], *, thing: str = "rug", seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return pictures.draw_picture(thing, "Copper", np.array(look), rng).astype(float)


def test_every_thing_and_style_can_be_drawn() -> None:
    assert set(pictures.OUTLINES) == {thing for things in THINGS.values() for thing in things}
    assert set(pictures.MATERIALS) == set(STYLES)
    for thing in pictures.OUTLINES:
        picture = drawn((0, 0, 0), thing=thing)
        assert picture.shape == (pictures.SIZE, pictures.SIZE, 3)
        assert picture.std() > 10  # something stands before the background


def test_a_picture_is_the_same_for_the_same_seed() -> None:
    np.testing.assert_array_equal(drawn((1, 0, -1)), drawn((1, 0, -1)))


@pytest.mark.parametrize("place", range(len(pictures.LOOKS)))
def test_every_look_shows(place: int) -> None:
    looks = np.zeros((2, 3))
    looks[:, place] = (-1.5, 1.5)
    one, other = (drawn(tuple(look)) for look in looks)
    assert np.abs(one - other).mean() > 5  # the noise is the same in both


def test_the_shop_s_products_have_pictures_and_the_newest_no_history(tmp_path: Path) -> None:
    shop = write_shop(tmp_path, customers=80)
    products = pd.read_parquet(tmp_path / "products.parquet")
    assert all((tmp_path / name).is_file() for name in products["image"])
    newest = products["product_id"].iloc[-shop.newcomers :]
    assert len(newest) == 1
    assert not shop.interactions["product_id"].isin(newest).any()


def test_nobody_takes_a_product_before_it_is_there() -> None:
    shop = simulate_shop(customers=200)
    since = dict(zip(shop.products["product_id"], shop.ages, strict=True))
    late = [product for product, days in since.items() if 0 < days < 40]
    assert len(late) == 20
    taken = shop.interactions[shop.interactions["product_id"].isin(late)]
    days = (END + timedelta(minutes=60) - taken["timestamp"]).dt.total_seconds() / 86_400
    assert len(taken)
    assert (days <= taken["product_id"].map(since) + 0.05).all()


def test_looks_drive_taste() -> None:
    """Customers take what pleases their eyes more often than others do."""
    shop = simulate_shop(customers=200)
    place = {product: row for row, product in enumerate(shop.products["product_id"])}
    rows = shop.interactions["product_id"].map(place).to_numpy()
    who = shop.interactions["customer_id"].str.removeprefix("customer-").astype(int).to_numpy()
    pleased = (shop.looks[rows] * shop.eyes[who]).sum(axis=1).mean()
    by_chance = (shop.looks[rows] * shop.eyes[np.roll(who, 1000)]).sum(axis=1).mean()
    assert pleased > by_chance + 0.5
