"""Importing pictures: folders by class, tars, IDX sets, shops with pictures."""

import gzip
import struct
import tarfile
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from pipelines import data
from pipelines.commands.data import render_profile
from training.errors import DataQualityError
from training.image.tables import ImageDataset, read_image_dataset

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def by_class(folder, *, splits=()):
    """60 files of two classes, below each split where there are some."""
    for split in splits or ("",):
        for number in range(60):
            path = folder / split / ("hat", "shoe")[number % 2] / f"{split}{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"a picture")
    return folder


def idx(folder, name, count, *, labels=True):
    folder.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 255, (count, 4, 4)).astype(np.uint8)
    header = struct.pack(">BBBB3I", 0, 0, 8, 3, count, 4, 4)
    path = folder / f"{name}-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(header + pixels.tobytes()))
    if labels:
        codes = (np.arange(count) % 3).astype(np.uint8)
        path = folder / f"{name}-labels-idx1-ubyte.gz"
        path.write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, count) + codes.tobytes()))
    return pixels


def the_one(path, **given):
    (found,) = data.read_sources(path, now=NOW, **given)
    assert isinstance(found, ImageDataset)
    return found


def test_a_folder_by_class_is_products_with_a_category(tmp_path):
    found = the_one(by_class(tmp_path / "shop"))
    assert found.profile["classes"] == {"hat": 30, "shoe": 30}
    assert found.products["product_id"].iloc[0] == "hat/0"
    assert "split" not in found.products.columns


def test_a_tar_by_split_and_class_is_the_same_with_a_split(tmp_path):
    folder = by_class(tmp_path / "shop", splits=("train", "validation", "test"))
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        for part in sorted(folder.iterdir()):
            tar.add(part, part.name)
    found = the_one(tmp_path / "images.tar")
    assert found.profile["split"] == {"train": 60, "validation": 60, "test": 60}
    folder_found = the_one(folder)
    pd.testing.assert_frame_equal(found.products, folder_found.products)


def test_a_tar_with_a_folder_around_the_splits_has_them_too(tmp_path):
    """Regression: the folder was taken for the split, and test was trained on."""
    folder = by_class(tmp_path / "shop", splits=("train", "test"))
    with tarfile.open(tmp_path / "images.tar", "w") as tar:
        tar.add(folder, "shop")
    assert the_one(tmp_path / "images.tar").profile["split"] == {"train": 60, "test": 60}
    assert the_one(tmp_path).profile["split"] == {"train": 60, "test": 60}


@pytest.mark.parametrize("stray", ["preview/hat/1.png", "sheet/1.png"])
def test_pictures_beside_the_splits_are_refused(tmp_path, stray):
    """Regression: one such file, and a set with a test split had none."""
    folder = by_class(tmp_path / "shop", splits=("train", "test"))
    path = folder / stray
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"a picture")
    with pytest.raises(DataQualityError, match=f"in no folder named train.*1 of 121 .*{stray}"):
        the_one(folder)


def test_a_few_folders_named_as_splits_are_classes_and_are_told_of(tmp_path):
    folder = by_class(tmp_path / "shop")
    (folder / "test" / "hat").mkdir(parents=True)
    (folder / "test" / "hat" / "1.png").write_bytes(b"a picture")
    found = the_one(folder)
    assert "split" not in found.products.columns
    assert found.profile["notes"] == ["no split: only 1 of 61 pictures are in a folder of one"]


def test_an_idx_set_is_read_as_published(tmp_path):
    train = idx(tmp_path / "set", "train", 60)
    test = idx(tmp_path / "set", "t10k", 30)
    found = the_one(tmp_path / "set")
    assert found.profile["split"] == {"train": 60, "test": 30}
    rows = found.products["image"].astype(int).to_numpy()
    by_split = found.products["split"].to_numpy()
    assert (found.pixels[rows[by_split == "train"]] == train).all()
    assert (found.pixels[rows[by_split == "test"]] == test).all()
    assert found.products["category"].iloc[:3].tolist() == ["0", "1", "2"]


def test_an_idx_set_without_labels_has_none(tmp_path):
    idx(tmp_path / "set", "train", 60, labels=False)
    assert the_one(tmp_path / "set").profile["label"] is None


def test_labels_that_are_not_as_many_as_pictures_are_refused(tmp_path):
    idx(tmp_path / "set", "train", 60)
    labels = tmp_path / "set" / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(gzip.compress(struct.pack(">BBBBI", 0, 0, 8, 1, 5) + bytes(5)))
    with pytest.raises(DataQualityError, match="5 labels for 60 pictures"):
        the_one(tmp_path / "set")


def test_pictures_without_a_class_are_refused(tmp_path):
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "a.jpg").write_bytes(b"?")
    with pytest.raises(DataQualityError, match="expected pictures as <class>/<file>"):
        the_one(tmp_path / "shop")


def test_a_broken_tar_is_refused(tmp_path):
    (tmp_path / "images.tar").write_bytes(b"no tar" * 200)
    with pytest.raises(DataQualityError, match="no tar that can be read"):
        the_one(tmp_path / "images.tar")


def shop(folder, *, images=True):
    products = [f"p{number}" for number in range(60)]
    rows = [(f"c{c}", products[(c + n) % 60]) for c in range(30) for n in range(3)]
    frame = pd.DataFrame(rows, columns=["customer_id", "product_id"])
    folder.mkdir()
    frame.assign(event="purchase", timestamp="2026-05-01").to_csv(
        folder / "interactions.csv", index=False
    )
    table = pd.DataFrame({"product_id": products, "image": [f"images/{p}.png" for p in products]})
    table.assign(category="x").to_csv(folder / "products.csv", index=False)
    if images:
        (folder / "images").mkdir()
        for name in table["image"][5:]:
            (folder / name).write_bytes(b"a picture")
    return folder


def test_a_shop_with_pictures_is_two_data_sets(tmp_path):
    _, pictures = data.read_sources(shop(tmp_path / "shop"), now=NOW)
    assert pictures.profile["pictures"] == 60
    assert pictures.profile["rejected"] == {"no such file": 5}
    data.write_dataset(pictures, tmp_path / "written")
    read = read_image_dataset(tmp_path / "written")
    assert read.pictures is not None
    assert read.pictures.read("images/p7.png") == b"a picture"


def test_names_of_pictures_that_are_elsewhere_make_no_data_set(tmp_path):
    found = data.read_sources(shop(tmp_path / "shop", images=False), now=NOW)
    assert len(found) == 1


def test_the_profile_of_pictures_is_shown(tmp_path):
    profile = the_one(by_class(tmp_path / "shop")).profile
    assert render_profile(profile).row_count == 2
