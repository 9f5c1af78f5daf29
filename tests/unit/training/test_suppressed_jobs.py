"""Prepare leaves out who was erased, and says how many rows that were."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from inference.suppression import FILE, Suppression, encode_suppression
from pipelines.data import write_dataset
from tests.unit.training.nudge.simulator import NOW, nudges_table
from training.datasets import build_dataset
from training.job import Job
from training.nudge import prepare as nudge
from training.nudge.tables import build_nudge_dataset
from training.recommendation import prepare as recommendation

ERASED_AT = datetime(2026, 11, 24, tzinfo=UTC)


def job(root: Path, step: str, *erased: str) -> Job:
    suppression = Suppression(salt="5a").with_erased(erased, at=ERASED_AT)
    channel = root / "processing" / "input" / "suppression"
    channel.mkdir(parents=True)
    (channel / FILE).write_bytes(encode_suppression(suppression))
    return Job(step, root, {}, "acme", "run-1", "2026-11-24T10:00:00Z")


def test_a_recommender_is_prepared_without_the_erased(tmp_path, capsys):
    rows = [
        (f"c{c:02d}", f"p{(c + i) % 6}", "purchase", pd.Timestamp(2026, 1, 1 + i, c % 24, tz="UTC"))
        for c in range(25)
        for i in range(12)
    ]
    columns = ["customer_id", "product_id", "event", "timestamp"]
    tables = {"interactions": pd.DataFrame(rows, columns=columns)}
    found = job(tmp_path, "recommendation.prepare", "c03")
    write_dataset(build_dataset(tables, now=ERASED_AT), found.channel("dataset"))
    recommendation.run(found)
    prepared = recommendation.load(found.output("prepared"))
    assert prepared.meta["customers"] == len(np.unique(prepared.customers)) == 24
    assert prepared.meta["suppressed"] == 12
    assert '"suppressed": 12' in capsys.readouterr().out


def test_a_nudge_policy_is_prepared_without_the_erased(tmp_path, capsys):
    dataset = build_nudge_dataset({"nudges": nudges_table()}, now=NOW)
    customer = str(dataset.nudges["customer_id"].iloc[0])
    rows = int((dataset.nudges["customer_id"] == customer).sum())
    found = job(tmp_path, "nudge.prepare", customer)
    write_dataset(dataset, found.channel("dataset"))
    nudge.run(found)
    prepared = nudge.load(found.output("prepared"))
    assert len(prepared) == len(dataset.nudges) - rows
    assert prepared.meta["suppressed"] == rows > 0
    assert f'"suppressed": {rows}' in capsys.readouterr().out
