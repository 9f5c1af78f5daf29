"""`nextbest data join`: files in, nudges out, which the import takes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from pipelines import data
from pipelines.joining import join_files, rules_of
from training.errors import ConfigurationError, DataQualityError
from training.nudge.tables import NudgeDataset

NOW = datetime(2026, 3, 10, tzinfo=UTC)
DECISIONS = """decision_id,customer_id,timestamp,action,propensity,context_recency
d-1,c-1,2026-03-01T10:00:00Z,mail,0.5,3
d-2,c-2,2026-03-01T11:00:00Z,none,0.5,7
d-3,c-1,2026-03-09T23:00:00Z,mail,0.5,1
"""
REWARDS = """event_id,timestamp,reward,decision_id,customer_id
e-1,2026-03-01T12:00:00Z,1,d-1,
e-1,2026-03-01T12:00:00Z,1,d-1,
e-2,2026-03-01T13:00:00Z,2.5,,c-2
e-3,2026-03-01T13:00:00Z,1,,c-9
"""


def files(folder: Path, decisions: str = DECISIONS, rewards: str = REWARDS) -> tuple[Path, Path]:
    (folder / "decisions.csv").write_text(decisions)
    (folder / "rewards.csv").write_text(rewards)
    return folder / "decisions.csv", folder / "rewards.csv"


def test_rewards_find_their_decisions_by_id_and_by_customer(tmp_path: Path) -> None:
    found = join_files(*files(tmp_path), rules=rules_of(), now=NOW, target=tmp_path / "out")
    nudges = pd.read_parquet(tmp_path / "out" / "nudges.parquet")
    rewards = dict(zip(nudges["decision_id"], nudges["reward"], strict=True))
    assert rewards == {"d-1": 1.0, "d-2": 2.5}  # d-3 still waits
    assert nudges["context_recency"].tolist() == ["3", "7"]
    assert (found.counts["waiting"], found.counts["duplicate_rewards"]) == (1, 1)
    unjoined = pd.read_parquet(tmp_path / "out" / "unjoined.parquet")
    assert unjoined["event_id"].tolist() == ["e-3"]


def in_parquet(path: Path, table: pd.DataFrame) -> Path:
    table.to_parquet(path)
    return path


@pytest.mark.parametrize("by", ["decision_id", "customer_id"])
def test_ids_that_are_numbers_in_parquet_find_their_decisions(tmp_path: Path, by: str) -> None:
    """Regression: decisions' ids became text and rewards' did not, so that no reward was joined.
    One of the rewards names nothing, which makes floats of the column's whole numbers."""
    at = pd.Timestamp("2026-03-01T10:00:00Z")
    shared = {"decision_id": [1, 2], "customer_id": [70, 80], "timestamp": at}
    made = pd.DataFrame({**shared, "action": ["mail", "none"], "propensity": 0.5})
    given = pd.DataFrame({"event_id": [1, 2, 3], "timestamp": at, "reward": [1.0, 2.0, 3.0]})
    given[by] = [*shared[by], None]
    named = in_parquet(tmp_path / "d.parquet", made), in_parquet(tmp_path / "r.parquet", given)
    found = join_files(*named, rules=rules_of(), now=NOW, target=tmp_path / "out")
    assert dict(zip(found.nudges["decision_id"], found.nudges["reward"], strict=True)) == {
        "1": 1.0,
        "2": 2.0,
    }
    assert found.unjoined["event_id"].tolist() == ["3"]


def test_blanks_around_the_ids_of_rewards_are_stripped(tmp_path: Path) -> None:
    spaced = REWARDS.replace(",d-1,", ", d-1 ,").replace(",,c-2", ",  ,c-2 ")
    found = join_files(*files(tmp_path, rewards=spaced), rules=rules_of(), now=NOW, target=tmp_path)
    assert found.counts["rewards_joined"] == 2


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    named = files(tmp_path, rewards="event_id,timestamp,rewrd\ne,2026-03-01T12:00:00Z,1\n")
    with pytest.raises(DataQualityError, match=r"'reward' is missing.* call it reward$"):
        join_files(*named, rules=rules_of(), now=NOW, target=tmp_path / "out")
    with pytest.raises(DataQualityError, match="no such file"):
        join_files(tmp_path / "x.csv", named[1], rules=rules_of(), now=NOW, target=tmp_path)
    with pytest.raises(ConfigurationError, match="attribution_hours"):
        rules_of(attribution_hours=100.0)
    with pytest.raises(ConfigurationError, match="several"):
        rules_of(several="median")


def logs(folder: Path, *, value: str = "") -> tuple[Path, Path]:
    """300 decisions of two actions, every third with a reward; `value` is its column, or none."""
    at = [f"2026-01-{1 + n // 24:02}T{n % 24:02}:00:00Z" for n in range(300)]
    made = [f"d-{n},c-{n % 40},{at[n]},{('mail', 'none')[n % 2]},0.5,3\n" for n in range(300)]
    head = "event_id,decision_id,timestamp,reward"
    if value:
        head, value = f"{head},value", f",{value}"
    given = [f"e-{n},d-{n},{at[n]},1{value}\n" for n in range(0, 300, 3)]
    return files(folder, DECISIONS.splitlines(True)[0] + "".join(made), f"{head}\n{''.join(given)}")


@pytest.mark.parametrize(("value", "total"), [("", None), ("20", 2000.0)])
def test_what_was_joined_can_be_imported(tmp_path: Path, value: str, total: float | None) -> None:
    """Regression: `value` was empty where no reward came, which the import refuses."""
    join_files(*logs(tmp_path, value=value), rules=rules_of(), now=NOW, target=tmp_path / "out")
    [dataset] = data.read_sources(tmp_path / "out", now=NOW)
    assert isinstance(dataset, NudgeDataset)
    nudges = dataset.nudges
    assert len(nudges) == 300
    assert (nudges["value"].sum() if "value" in nudges else None) == total
