"""Decoding, setting aside, labelling and splitting."""

import gzip
import io
import json
import struct

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("PIL", reason="the extra `image` is not installed: pip install -e '.[image]'")

from PIL import Image

from tests.unit.training.image.shapes import (
    dataset,
    draw,
    encoded,
    pixels_and_labels,
    run_prepare,
)
from training.configuration import parse
from training.errors import ConfigurationError, DataQualityError, NotEnoughDataError
from training.image import prepare
from training.image.configuration import ImageConfiguration
from training.image.pictures import FolderPictures, TarPictures, read_idx
from training.image.tables import build_image_dataset, write_image_dataset


def as_files(folder, count=80):
    """A folder `images/` with PNG files, and its products."""
    (folder / "images").mkdir(parents=True)
    pixels, labels = pixels_and_labels(count)
    names = [f"images/{number}.png" for number in range(count)]
    for name, one in zip(names, pixels, strict=True):
        (folder / name).write_bytes(encoded(one))
    ids = [f"p{number}" for number in range(count)]
    return pd.DataFrame({"product_id": ids, "image": names, "category": labels})


def prepared(root, frame, folder, **settings):
    data = build_image_dataset(frame, pictures=FolderPictures(folder))
    return prepare.load(run_prepare(root, data, **settings))


def listed(root):
    return json.loads((root / "processing" / "output" / "prepared" / "set_aside.json").read_text())


def test_files_become_pixels_in_the_order_of_the_products(tmp_path):
    frame = as_files(tmp_path / "shop")
    found = prepared(tmp_path / "job", frame, tmp_path / "shop")
    pixels, _ = pixels_and_labels(80)
    assert found.images.shape == (80, 16, 16, 1)
    assert (found.images[..., 0] == pixels).all()
    assert found.classes == ["cross", "square", "stripes"]
    assert found.meta["product_ids"] == frame["product_id"].tolist()


def test_what_cannot_be_used_is_counted_listed_and_left_out(tmp_path):
    shop = tmp_path / "shop"
    frame = as_files(shop)
    whole = (shop / "images/0.png").read_bytes()
    (shop / "images/0.png").write_bytes(whole[: len(whole) // 2])
    (shop / "images/1.png").write_bytes(b"")
    (shop / "images/2.png").write_bytes(b"<html>404</html>")
    (shop / "images/3.png").write_bytes(encoded(np.zeros((300, 300), np.uint8)))
    found = prepared(
        tmp_path / "job", frame, shop, maximum_pixels="50000", maximum_broken_share="0.1"
    )
    assert found.meta["decoding"]["set_aside"] == dict.fromkeys(
        ("broken", "empty", "not an image", "too many pixels"), 1
    )
    assert found.meta["product_ids"] == [f"p{number}" for number in range(4, 80)]
    assert {one["product_id"] for one in listed(tmp_path / "job")} == {"p0", "p1", "p2", "p3"}


def test_no_more_pixels_can_be_asked_for_than_pillow_decodes():
    """Its guard would refuse what the setting allows."""
    given = {"maximum_pixels": Image.MAX_IMAGE_PIXELS}
    assert parse(ImageConfiguration, given, where="image").maximum_pixels == Image.MAX_IMAGE_PIXELS
    with pytest.raises(ConfigurationError, match="maximum_pixels"):
        parse(ImageConfiguration, {"maximum_pixels": Image.MAX_IMAGE_PIXELS + 1}, where="image")


def test_odd_kinds_of_files_are_used_and_noted(tmp_path):
    shop = tmp_path / "shop"
    frame = as_files(shop)
    grey = draw("square", np.random.default_rng(1))
    odd = {
        "0.png": encoded(grey.astype(np.uint16) * 257),
        "1.png": encoded(grey, "JPEG", quality=95),
        "2.gif": encoded(grey, "GIF", save_all=True, append_images=[Image.fromarray(255 - grey)]),
        "3.jpg": as_cmyk(grey),
    }
    for number, (name, content) in enumerate(odd.items()):
        (shop / "images" / name).write_bytes(content)
        frame.loc[number, "image"] = f"images/{name}"
    found = prepared(tmp_path / "job", frame, shop)
    assert {one["reason"] for one in listed(tmp_path / "job")} == {
        "16-bit",
        "named as another format",
        "animated",
        "CMYK",
    }
    assert len(found) == 80
    for row in range(4):
        assert np.abs(found.images[row].mean(-1) - grey.astype(float)).mean() < 6, row


def as_cmyk(grey):
    file = io.BytesIO()
    Image.fromarray(grey).convert("RGB").convert("CMYK").save(file, "JPEG", quality=95)
    return file.getvalue()


def test_too_many_broken_files_end_the_run(tmp_path):
    frame = as_files(tmp_path / "shop")
    for number in range(20):
        (tmp_path / "shop" / "images" / f"{number}.png").write_bytes(b"?")
    with pytest.raises(DataQualityError, match=r"20 of 80 pictures cannot be used.*not an image"):
        prepared(tmp_path / "job", frame, tmp_path / "shop")


def test_a_name_never_leads_out_of_the_folder(tmp_path):
    frame = as_files(tmp_path / "shop")
    (tmp_path / "secret.png").write_bytes((tmp_path / "shop" / "images" / "0.png").read_bytes())
    pictures = FolderPictures(tmp_path / "shop")
    with pytest.raises(KeyError):
        pictures.read("../secret.png")
    frame.loc[0, "image"] = "../secret.png"
    data = build_image_dataset(frame, pictures=pictures)
    assert data.profile["rejected"] == {"no such file": 1}
    found = prepare.load(run_prepare(tmp_path / "job", data))
    assert found.meta["decoding"]["set_aside"] == {"no such file": 1}


def test_a_folder_with_none_of_the_files_is_refused(tmp_path):
    frame = as_files(tmp_path / "shop")
    with pytest.raises(DataQualityError, match=r"products.image: no such file: 80 of 80"):
        build_image_dataset(frame, pictures=FolderPictures(tmp_path / "shop" / "images"))


def test_a_written_data_set_is_one_archive_and_reads_the_same(tmp_path):
    frame = as_files(tmp_path / "shop")
    data = build_image_dataset(frame, pictures=FolderPictures(tmp_path / "shop"))
    write_image_dataset(data, tmp_path / "a")
    write_image_dataset(data, tmp_path / "b")
    assert (tmp_path / "a/images.tar").read_bytes() == (tmp_path / "b/images.tar").read_bytes()
    archive = TarPictures(tmp_path / "a/images.tar")
    assert archive.names() == sorted(frame["image"])
    name = frame["image"].iloc[7]
    assert archive.read(name) == (tmp_path / "shop" / name).read_bytes()


def test_a_product_held_out_stays_so_when_others_come(tmp_path):
    few = prepare.load(run_prepare(tmp_path / "few", dataset(200)))
    many = prepare.load(run_prepare(tmp_path / "many", dataset(240)))
    assert 0 < few.split.sum() < 60
    assert (few.split == many.split[:200]).all()


def test_the_split_column_is_obeyed_and_validation_is_learned_from(tmp_path):
    split = ["train", "validation", "test"] * 40
    found = prepare.load(run_prepare(tmp_path, dataset(120, split=split)))
    assert (found.split == [0, 0, 1] * 40).all()


def test_rare_and_missing_labels_count_as_none(tmp_path):
    data = dataset(60)
    data.products.loc[0, "category"] = "unique"
    data.products.loc[1, "category"] = None
    found = prepare.load(run_prepare(tmp_path, data))
    assert found.labels[:3, 0].tolist() == [-1, -1, 2]


def test_a_label_column_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no column 'colour'.*category"):
        run_prepare(tmp_path, dataset(60), labels="colour")


def test_weights_beside_the_pictures_go_along_to_training(tmp_path):
    frame = as_files(tmp_path / "shop")
    (tmp_path / "shop" / "w.pt").write_bytes(b"weights")
    data = build_image_dataset(frame, pictures=FolderPictures(tmp_path / "shop"))
    folder = run_prepare(tmp_path / "job", data, backbone="resnet18", weights="w.pt")
    assert (folder / prepare.WEIGHTS).read_bytes() == b"weights"


def test_a_label_of_lists_is_refused(tmp_path):
    data = dataset(60, colours=[["red"], ["blue"]] * 30)
    with pytest.raises(ConfigurationError, match="'colours' holds lists"):
        run_prepare(tmp_path, data, labels="colours")


def test_too_few_pictures_are_refused():
    with pytest.raises(NotEnoughDataError, match="10 products with a picture"):
        dataset(10)


def test_weights_outside_the_data_set_are_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="no such file"):
        run_prepare(tmp_path, dataset(60), backbone="resnet18", weights="../../w.pt")


def test_an_idx_file_reads_as_published(tmp_path):
    values = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    content = struct.pack(">BBBB3I", 0, 0, 8, 3, 2, 3, 4) + values.tobytes()
    (tmp_path / "a-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    assert (read_idx(tmp_path / "a-idx3-ubyte.gz") == values).all()
    (tmp_path / "b-idx3-ubyte").write_bytes(content[:-1])
    with pytest.raises(DataQualityError, match="23 bytes follow a header"):
        read_idx(tmp_path / "b-idx3-ubyte")
    (tmp_path / "c-idx3-ubyte.gz").write_bytes(gzip.compress(content)[:20])
    with pytest.raises(DataQualityError, match="broken or truncated"):
        read_idx(tmp_path / "c-idx3-ubyte.gz")
