"""A local job sees what its container would see: its source, the image's packages, nothing else."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.local.container import job_environment


def run_script(root: Path, script: str) -> subprocess.CompletedProcess[str]:
    code = root / "code"
    code.mkdir(exist_ok=True)
    (code / "job.py").write_text(script)
    environment = job_environment(root, {"PYTHONPATH": str(code)})
    return subprocess.run(
        [str(root / "bin" / "python"), str(code / "job.py")],
        env=environment,
        cwd=code,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("package", ["inference", "training", "pipelines", "state_machines"])
def test_a_package_missing_in_the_tarball_is_not_found_in_the_checkout(
    tmp_path: Path, package: str
) -> None:
    assert importlib.util.find_spec(package) is not None
    done = run_script(tmp_path, f"import {package}")
    assert f"No module named '{package}'" in done.stderr


def test_the_tarballs_own_and_installed_packages_are_found(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "training.py").write_text("here = True")
    done = run_script(tmp_path, "import numpy, training; print(training.here, numpy.__file__)")
    assert done.stdout.startswith(f"True {sys.prefix}"), done.stderr
