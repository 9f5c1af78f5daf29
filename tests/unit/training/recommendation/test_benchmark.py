"""The benchmark takes any file in the layouts of the reference sets, and writes its rows."""

from __future__ import annotations

import json
import lzma
from pathlib import Path

import numpy as np
import pytest

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


def test_a_split_without_its_test_set_is_refused(tmp_path: Path, chains: list[list[str]]) -> None:
    path = write(tmp_path / "train.txt.xz", chains)
    with pytest.raises(SystemExit, match="needs --test"):
        recommendation.main(["--protocol", "split", "--interactions", str(path)])
