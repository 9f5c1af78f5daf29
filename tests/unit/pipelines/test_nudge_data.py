"""Logs of nudges as they come: canonical tables, Hillstrom and Open Bandit as published."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from pipelines import data
from pipelines.adapters import PICTURES
from pipelines.commands.data import FORMATS, _show, render_profile
from pipelines.console import console
from tests.unit.training.nudge.simulator import nudges_table
from training.errors import DataQualityError
from training.nudge.tables import NudgeDataset, read_nudge_dataset

NOW = datetime(2026, 11, 24, tzinfo=UTC)
REAL = Path(__file__).resolve().parents[4] / "shared" / "data"
needs_real_data = pytest.mark.skipif(not REAL.exists(), reason="no ../shared/data beside us")
HEADER = "recency,history_segment,history,mens,womens,zip_code,newbie,channel,segment"
HILLSTROM = f"""{HEADER},visit,conversion,spend
10,2) $100 - $200,142.44,1,0,Surburban,0,Phone,Womens E-Mail,0,0,0
6,3) $200 - $350,329.08,1,1,Rural,1,Web,No E-Mail,1,0,0
7,2) $100 - $200,180.65,0,1,Surburban,1,Web,Mens E-Mail,1,1,29.99
"""
LOGGED = ",timestamp,item_id,position,click,propensity_score"
OPEN_BANDIT = f"""{LOGGED},user_feature_0,user-item_affinity_0
0,2019-11-24 00:00:00+00:00,1,2,0,0.5,a,0.0
1,2019-11-24 00:00:01+00:00,0,3,1,0.25,b,2.0
"""


def read(path, **options):
    return data.read_sources(path, now=NOW, **options)[0]


def repeated(text, times=120):
    header, *rows = text.splitlines()
    return "\n".join([header, *rows * times]) + "\n"


@pytest.fixture
def folder(tmp_path):
    nudges_table().to_csv(tmp_path / "nudges.csv", index=False)
    (tmp_path / "actions.csv").write_text("action,cost\nnone,\nmail,0.05\npush,0.01\n")
    return tmp_path


def test_the_command_names_every_format():
    assert FORMATS == data.FORMATS
    assert {*data._READERS, *PICTURES} == set(FORMATS) - {"auto", "canonical", "csv"}


def test_a_folder_of_nudges_is_read(folder):
    found = read(folder)
    assert isinstance(found, NudgeDataset)
    assert found.profile["rows"] == 3000
    assert [(a.action, a.cost) for a in found.actions][1] == ("mail", 0.05)
    assert found.profile["context"] == ["age", "device"]
    assert found.nudges["context_age"].isna().sum() > 100


def test_a_single_file_of_nudges_is_known_by_its_columns(folder):
    assert read(folder / "nudges.csv").profile["table"] == "nudges"


def test_columns_can_be_mapped(folder):
    table = pd.read_csv(folder / "nudges.csv").rename(columns={"propensity": "pscore"})
    table.to_csv(folder / "nudges.csv", index=False)
    assert read(folder, mapping={"propensity": "pscore"}).profile["rows"] == 3000


def test_a_folder_of_both_kinds_gives_two_data_sets(folder):
    rows = [f"c{i},p{j},purchase,2026-01-0{j}T00:00:00Z" for i in range(30) for j in range(1, 7)]
    header = "customer_id,product_id,event,timestamp"
    (folder / "interactions.csv").write_text("\n".join([header, *rows]) + "\n")
    both = data.read_sources(folder, now=NOW)
    assert [one.profile["rows"] for one in both] == [180, 3000]


def test_guardrails_beside_the_tables_are_kept_and_checked(folder, tmp_path):
    rules = {"holdout_share": 0.05, "caps": [{"scope": "global", "limit": 2, "period": "week"}]}
    (folder / "guardrails.json").write_text(json.dumps(rules))
    found = read(folder)
    data.write_dataset(found, tmp_path / "out")
    assert read_nudge_dataset(tmp_path / "out").guardrails.holdout_share == 0.05
    (folder / "guardrails.json").write_text('{"holdout_share": 2}')
    with pytest.raises(DataQualityError, match=r"guardrails.json.*holdout_share"):
        read(folder)


def test_the_profile_is_shown(folder):
    labels = list(render_profile(read(folder).profile).columns[0].cells)
    assert {"rows", "customers", "actions", "rewarded", "smallest propensity"} <= set(labels)


@pytest.mark.parametrize("named", ["auto", "hillstrom"])
def test_hillstrom_as_published(tmp_path, named):
    path = tmp_path / "hillstrom.csv"
    path.write_text(repeated(HILLSTROM))
    found = read(path, format=named)
    by_action = found.profile["actions"]
    assert {name: row["mean_reward"] for name, row in by_action.items()} == {
        "none": 1.0,
        "mens-email": 1.0,
        "womens-email": 0.0,
    }
    assert found.nudges["propensity"].unique().tolist() == [1 / 3]
    assert found.nudges["value"].max() == 29.99
    assert len(found.profile["context"]) == 7


def test_an_unknown_arm_is_refused(tmp_path):
    path = tmp_path / "hillstrom.csv"
    path.write_text(repeated(HILLSTROM).replace("Mens E-Mail", "Both", 1))
    with pytest.raises(DataQualityError, match=r"segment: expected one of No E-Mail"):
        read(path)


@pytest.mark.parametrize("named", ["auto", "open-bandit"])
def test_open_bandit_as_published(tmp_path, named):
    path = tmp_path / "women.csv"
    path.write_text(repeated(OPEN_BANDIT))
    (tmp_path / "item_context.csv").write_text(",item_id,item_feature_0\n0,0,1\n1,1,2\n2,2,3\n")
    found = read(path, format=named)
    assert [a.action for a in found.actions] == ["item-0", "item-1", "item-2"]
    assert sorted(found.nudges["propensity"].unique()) == [0.25, 0.5]
    assert found.profile["context"] == ["position", "user_feature_0", "affinity_0"]
    assert found.profile["actions"]["item-0"]["mean_reward"] == 1.0


def test_open_bandit_without_its_items(tmp_path):
    path = tmp_path / "women.csv"
    path.write_text(repeated(OPEN_BANDIT))
    assert [a.action for a in read(path).actions] == ["item-0", "item-1"]


@needs_real_data
def test_the_published_files_are_read():
    hillstrom = read(REAL / "hillstrom" / "hillstrom.csv.xz")
    assert hillstrom.profile["rows"] == 64_000
    means = {name: row["mean_reward"] for name, row in hillstrom.profile["actions"].items()}
    assert means == pytest.approx(
        {"none": 0.1062, "mens-email": 0.1828, "womens-email": 0.1514}, abs=1e-4
    )
    women = read(REAL / "open-bandit" / "bts" / "women" / "women.csv.xz")
    assert (women.profile["rows"], len(women.actions)) == (10_000, 46)
    assert women.profile["smallest_propensity"] == pytest.approx(1e-6)


def test_an_action_that_looks_like_markup_is_shown_as_it_is(tmp_path: Path) -> None:
    """Regression: the profile of an import ended in a traceback."""
    nudges = nudges_table(count=400).assign(action=["[/mail]", "none"] * 200)
    nudges.drop(columns="eligible", errors="ignore").to_parquet(tmp_path / "nudges.parquet")
    with console.capture() as shown:
        _show([(read(tmp_path).profile, "here")])
    assert "[/mail] 200" in shown.get()
