"""The container contract, as a job sees it."""

import json

import pytest

from training.errors import ConfigurationError, DataQualityError
from training.job import _guarded, read_job


def test_a_processing_job_reads_its_environment(tmp_path):
    environment = {
        "NEXTBEST_ML_ROOT": str(tmp_path),
        "NEXTBEST_SEED": "4",
        "NEXTBEST_TENANT": "acme",
        "NEXTBEST_RUN": "r",
        "HOME": "/root",
    }
    job = read_job(["recommendation.prepare"], environment)
    assert (job.tenant, job.run, dict(job.settings)) == ("acme", "r", {"seed": "4"})
    assert job.output("x").is_dir()


def test_a_training_job_reads_its_hyperparameters(tmp_path):
    folder = tmp_path / "input" / "config"
    folder.mkdir(parents=True)
    values = {"step": '"recommendation.train"', "seed": "1", "sagemaker_program": "x"}
    (folder / "hyperparameters.json").write_text(json.dumps(values))
    job = read_job(["--seed", "1"], {"NEXTBEST_ML_ROOT": str(tmp_path)})
    assert (job.step, dict(job.settings)) == ("recommendation.train", {"seed": "1"})


def test_an_unknown_step_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="unknown step 'x'"):
        read_job(["x"], {"NEXTBEST_ML_ROOT": str(tmp_path)})


@pytest.mark.parametrize("error", [DataQualityError("bad rows"), ValueError("a bug")])
def test_a_failure_leaves_its_class_and_message(tmp_path, error, capsys):
    def fail():
        raise error

    assert _guarded(tmp_path, fail) == 1
    expected = f"{type(error).__name__}: {error}"
    assert (tmp_path / "output" / "failure").read_text() == expected
    assert (tmp_path / "output" / "message").read_text() == expected
    assert expected in capsys.readouterr().err


def test_success_leaves_nothing(tmp_path):
    assert _guarded(tmp_path, lambda: None) == 0
    assert not (tmp_path / "output").exists()
