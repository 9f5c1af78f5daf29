"""The benchmark runs on any folder by class."""

import json
import sys

import pytest

pytest.importorskip("torch", reason="the extra `image` is not installed: make images")

from tests.benchmarks import image
from tests.unit.training.image.shapes import QUICK, encoded, pixels_and_labels


def test_it_measures_a_folder_beside_its_peers(tmp_path, monkeypatch):
    pixels, labels = pixels_and_labels(120)
    for number, (one, label) in enumerate(zip(pixels, labels, strict=True)):
        (tmp_path / "shop" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "shop" / label / f"{number}.png").write_bytes(encoded(one))
    settings = [word for key, value in QUICK.items() for word in ("--set", f"{key}={value}")]
    given = ["--data", str(tmp_path / "shop"), "--json", str(tmp_path / "rows.json"), *settings]
    monkeypatch.setattr(sys, "argv", ["image", *given])
    image.main()
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [row["model"] for row in rows] == [
        "nextbest",
        "nextbest, float32",
        "PCA + 5 neighbours",
        "PCA + logistic",
        "extra trees",
    ]
    assert all(0 <= row["metrics"]["accuracy"] <= 1 for row in rows)
