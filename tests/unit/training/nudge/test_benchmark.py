"""The nudge benchmarks write the rows that every benchmark writes."""

from __future__ import annotations

import json
from pathlib import Path

from tests.benchmarks import nudge, nudge_serving

COLUMNS = {"benchmark", "set", "model", "metrics", "cpu_seconds", "peak_mb"}


def test_the_speed_of_decisions_comes_as_rows(tmp_path: Path) -> None:
    nudge_serving.main(["--rounds", "5", "--json", str(tmp_path / "rows.json")])
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert all(set(row) == COLUMNS for row in rows)
    ours = [row for row in rows if row["model"] == "nextbest"]
    assert {row["set"] for row in ours} == {"3 actions", "80 actions"}
    assert all(row["metrics"]["p50_us"] > 0 for row in ours)


def test_of_the_estimators_the_one_that_leads_is_ours() -> None:
    rows = list(nudge._error_rows("digits", {"dr": 0.01, "ips": 0.02}, 1.0))
    assert [row.model for row in rows] == ["nextbest", "ips"]
    assert rows[0].metrics == {"relative_error": 0.01}
    assert nudge.CHOSEN in nudge.ESTIMATORS
