"""The container contract: what a job is told, where it looks, what it leaves when it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from training.errors import ConfigurationError, DataQualityError
from training.job import _guarded, read_job

ENVIRONMENT = {
    "NEXTBEST_STEP": "recommendation.train",
    "NEXTBEST_TENANT": "acme",
    "NEXTBEST_RUN": "run-1",
    "NEXTBEST_STARTED_AT": "2026-01-01T00:00:00Z",
    "NEXTBEST_NEIGHBOURS": "50",
    "NEXTBEST_SKIP_INSTALL": "1",
    "NEXTBEST_STAGE": "local",
    "PATH": "/bin",
}


def write_hyperparameters(root: Path, values: dict[str, Any]) -> None:
    folder = root / "input" / "config"
    folder.mkdir(parents=True)
    (folder / "hyperparameters.json").write_text(json.dumps(values))


def test_a_processing_job_reads_its_environment(tmp_path: Path) -> None:
    job = read_job(["recommendation.prepare"], {**ENVIRONMENT, "NEXTBEST_ML_ROOT": str(tmp_path)})
    assert job.step == "recommendation.prepare"
    assert job.settings == {"neighbours": "50"}
    assert (job.tenant, job.run, job.started_at) == ("acme", "run-1", "2026-01-01T00:00:00Z")
    assert job.root == tmp_path


def test_a_training_job_reads_hyperparameters_and_not_its_environment(tmp_path: Path) -> None:
    values = {
        "step": '"recommendation.train"',
        "tenant": "shop",
        "k": "5",
        "purchase_event": '"buy"',
        "sagemaker_program": "nextbest_job.py",
    }
    write_hyperparameters(tmp_path, values)
    job = read_job(["--k", "5"], {**ENVIRONMENT, "NEXTBEST_ML_ROOT": str(tmp_path)})
    assert (job.step, job.tenant, job.run) == ("recommendation.train", "shop", "unknown")
    assert job.settings == {"k": "5", "purchase_event": "buy"}


@pytest.mark.parametrize("step", ["recommendation.tran", "os", ""])
def test_an_unknown_step_is_refused_with_the_known_ones(step: str) -> None:
    with pytest.raises(ConfigurationError, match=r"unknown step .*recommendation\.evaluate"):
        read_job([step], {})


def test_no_step_at_all_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="unknown step None"):
        read_job([], {})


def test_channels_of_training_and_processing(tmp_path: Path) -> None:
    job = read_job(["recommendation.train"], {"NEXTBEST_ML_ROOT": str(tmp_path)})
    assert job.channel("prepared") == tmp_path / "processing" / "input" / "prepared"
    (tmp_path / "input" / "data" / "prepared").mkdir(parents=True)
    assert job.channel("prepared") == tmp_path / "input" / "data" / "prepared"


def test_output_folders_are_made(tmp_path: Path) -> None:
    job = read_job(["recommendation.train"], {"NEXTBEST_ML_ROOT": str(tmp_path)})
    folders = [job.output("evaluation"), job.model, job.extra_output, job.checkpoints]
    assert [str(f.relative_to(tmp_path)) for f in folders if f.is_dir()] == [
        "processing/output/evaluation",
        "model",
        "output/data",
        "checkpoints",
    ]


def test_logs_are_json_lines_and_metrics_match_their_pattern(
    capsys: pytest.CaptureFixture[str],
) -> None:
    job = read_job(["recommendation.train"], {"NEXTBEST_RUN": "run-1"})
    job.log("tuned", trials=3)
    job.metric("validation_ndcg", 0.25)
    line, metric = capsys.readouterr().out.splitlines()
    assert json.loads(line) == {
        "run": "run-1",
        "step": "recommendation.train",
        "message": "tuned",
        "trials": 3,
    }
    assert metric == "validation_ndcg=0.250000;"


def raising(error: Exception) -> Any:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DataQualityError("interactions.event: empty id"), "DataQualityError: interactions.event"),
        (ZeroDivisionError("by zero"), "ZeroDivisionError: by zero"),
    ],
)
def test_a_failure_leaves_its_message_for_both_kinds_of_job(
    tmp_path: Path, error: Exception, message: str
) -> None:
    assert _guarded(tmp_path, raising(error)) == 1
    for name in ("failure", "message"):
        assert (tmp_path / "output" / name).read_text().startswith(message)


def test_a_long_message_is_cut_between_characters(tmp_path: Path) -> None:
    assert _guarded(tmp_path, raising(DataQualityError("é" * 2000))) == 1
    content = (tmp_path / "output" / "failure").read_bytes()
    assert 990 < len(content) <= 1000
    assert content.decode().endswith("é")


def test_success_leaves_no_message(tmp_path: Path) -> None:
    assert _guarded(tmp_path, lambda: None) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_stop_passes_through(tmp_path: Path) -> None:
    def stopped() -> None:
        raise SystemExit(143)

    with pytest.raises(SystemExit) as caught:
        _guarded(tmp_path, stopped)
    assert caught.value.code == 143


def test_the_program_exits_1_and_says_why(tmp_path: Path) -> None:
    program = "from training.job import main; main(['recommendation.nothing'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "NEXTBEST_ML_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("ConfigurationError: unknown step 'recommendation.nothing'")
    assert (tmp_path / "output" / "failure").read_text() == done.stderr.strip()
