"""The benchmark takes any file in the layouts of the reference sets, and writes its rows."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest

from inference import artifact
from tests.benchmarks import recommendation

COLUMNS = {"benchmark", "set", "model", "metrics", "cpu_seconds", "peak_mb"}


@pytest.fixture(scope="module")
def chains() -> list[list[str]]:
    """Customers who walk along a ring of 40 products."""
    draw = np.random.default_rng(0)
    return [[str((start + step) % 40) for step in range(9)] for start in draw.integers(0, 40, 120)]


def write(path: Path, lists: list[list[str]]) -> Path:
    lines = "".join(f"{user} {' '.join(items)}\n" for user, items in enumerate(lists))
    with lzma.open(path, "wt") as file:
        file.write(lines)
    return path


def rows_of(tmp_path: Path, *arguments: str) -> list[dict]:
    target = tmp_path / "rows.json"
    settings = ["--set", "budget_seconds=5", "--set", "factors=0", "--quiet", "--json", str(target)]
    recommendation.main([*arguments, *settings])
    rows: list[dict] = json.loads(target.read_text())
    assert all(set(row) == COLUMNS for row in rows)
    assert rows[0]["model"] == "nextbest"
    return rows


def test_next_item_with_attributes_and_peers(tmp_path: Path, chains: list[list[str]]) -> None:
    path = write(tmp_path / "sequences.txt.xz", chains)
    attributes = tmp_path / "attributes.json"
    attributes.write_text(json.dumps({str(item): [item % 5, "all"] for item in range(40)}))
    arguments = ["--protocol", "next-item", "--interactions", str(path)]
    rows = rows_of(tmp_path, *arguments, "--attributes", str(attributes), "--peers")
    metrics = {row["model"]: row["metrics"] for row in rows}
    assert metrics["nextbest"]["hr@5"] > 0.9  # the next on the ring
    assert metrics["nextbest"]["ndcg@10"] > metrics["popularity"]["ndcg@10"]
    assert "item-kNN" in metrics


def test_a_split_in_two_files(tmp_path: Path, chains: list[list[str]]) -> None:
    train = write(tmp_path / "train.txt.xz", [sorted(items[:7], key=int) for items in chains])
    test = write(tmp_path / "test.txt.xz", [items[7:] for items in chains])
    arguments = ["--protocol", "split", "--interactions", str(train), "--test", str(test)]
    rows = rows_of(tmp_path, *arguments)
    assert rows[0]["metrics"]["recall@20"] > 0.9


def test_what_nobody_took_is_found_by_its_attributes(
    tmp_path: Path, chains: list[list[str]]
) -> None:
    path = write(tmp_path / "sequences.txt.xz", chains)
    attributes = tmp_path / "attributes.json"
    attributes.write_text(json.dumps({str(item): [f"part {item // 8}"] for item in range(40)}))
    arguments = ["--protocol", "cold-items", "--interactions", str(path)]
    with_content = rows_of(tmp_path, *arguments, "--attributes", str(attributes))[0]["metrics"]
    without = rows_of(tmp_path, *arguments)[0]["metrics"]
    assert without["recall@20"] == 0.0  # nothing speaks for them
    assert with_content["recall@20"] > without["recall@20"]


def test_the_newest_of_data_with_times_are_hidden(tmp_path: Path, chains: list[list[str]]) -> None:
    lines = [
        f"c{customer},p{item},2026-01-{1 + place:02d}T{int(item) % 24:02d}:00:00"
        for customer, items in enumerate(chains)
        for place, item in enumerate(items)
    ]
    path = tmp_path / "visits.csv"
    path.write_text("\n".join(["customer_id,product_id,timestamp", *lines]))
    row = rows_of(tmp_path, "--protocol", "cold-items", "--interactions", str(path))[0]
    assert row["metrics"]["recall@20"] == 0.0
    assert row["set"].endswith("visits")


def test_images_find_what_nobody_took(tmp_path: Path, chains: list[list[str]]) -> None:
    path = write(tmp_path / "sequences.txt.xz", chains)
    angles = 2 * np.pi * np.arange(40) / 40
    looks = np.stack([np.sin(angles), np.cos(angles)], axis=1).astype(np.float32)
    artifact.write(
        tmp_path / "model",
        manifest={"kind": "image-model"},
        arrays={"embeddings": looks},
        tables={"product_ids": [str(item) for item in range(40)]},
    )
    artifact.pack(tmp_path / "model", tmp_path / "model.tar.gz")
    arguments = ["--protocol", "cold-items", "--interactions", str(path)]
    row = rows_of(tmp_path, *arguments, "--images", str(tmp_path))[0]
    assert row["metrics"]["recall@20"] > 0.5
    assert row["set"].endswith("with images")


def test_a_split_without_its_test_set_is_refused(tmp_path: Path, chains: list[list[str]]) -> None:
    path = write(tmp_path / "train.txt.xz", chains)
    with pytest.raises(SystemExit, match="needs --test"):
        recommendation.main(["--protocol", "split", "--interactions", str(path)])
