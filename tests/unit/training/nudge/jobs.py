"""Runs the three nudge jobs under the container contract, moving what the machine would move."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from inference import artifact
from training.job import Job
from training.nudge import evaluate, prepare, train
from training.nudge.tables import NudgeDataset, write_nudge_dataset

STARTED = "2026-05-01T10:00:00Z"


def job(root: Path, step: str, **settings: str) -> Job:
    return Job(f"nudge.{step}", root, settings, "acme", "nudge-policy-1", STARTED)


def moved(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target, dirs_exist_ok=True)


def run_jobs(
    root: Path, *, dataset: NudgeDataset, champion: Path | None = None, **settings: str
) -> dict[str, Any]:
    """Prepare, Train and Evaluate; `champion` is the root of an earlier run. The report's files."""
    inputs, outputs = root / "processing" / "input", root / "processing" / "output"
    write_nudge_dataset(dataset, inputs / "dataset")
    prepare.run(job(root, "prepare", **settings))
    moved(outputs / "prepared", inputs / "prepared")
    train.run(job(root, "train", **settings))
    (inputs / "model").mkdir(exist_ok=True)
    artifact.pack(root / "model", inputs / "model" / "model.tar.gz")
    artifact.pack(root / "output" / "data", inputs / "model" / "output.tar.gz")
    if champion is not None:
        moved(champion / "processing" / "input" / "model", inputs / "champion")
    evaluate.run(job(root, "evaluate", **settings))
    return {
        name: json.loads((outputs / "evaluation" / f"{name}.json").read_text())
        for name in ("metrics", "gate", "golden")
    }
