"""Packages are content-addressed, and the Lambdas run with nothing but zip and layer."""

import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from pipelines import packages

ROOT = Path(__file__).resolve().parents[3]
HANDLERS = sorted(p.stem for p in (ROOT / "inference/handlers").glob("[a-z]*.py"))


def test_same_source_gives_the_same_bytes():
    assert packages.lambda_code() == packages.lambda_code()
    assert packages.training_source() == packages.training_source()


def test_the_code_zip_holds_inference_and_nothing_else():
    with zipfile.ZipFile(io.BytesIO(packages.lambda_code().content)) as archive:
        assert {name.split("/")[0] for name in archive.namelist()} == {"inference"}


def test_job_requirements_are_pinned():
    lines = packages.requirements(packages.JOB_DISTRIBUTIONS).splitlines()
    assert len(lines) == len(packages.JOB_DISTRIBUTIONS)
    assert all("==" in line for line in lines)


def build(folder, layer):
    return packages.dependency_layer(
        layer, target="local", runtime="python3.13", architecture="arm64", cache=folder / "cache"
    )


@pytest.fixture(scope="module")
def layer_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layer")
    layers = [build(folder, packages.DEPENDENCIES), build(folder, packages.ARCHIVE)]
    assert layers[1].unzipped_bytes < 110 * 2**20
    if packages.is_installed(packages.IMAGES):
        layers.append(build(folder, packages.IMAGES))
        assert layers[2].unzipped_bytes < 70 * 2**20
    assert sum(layer.unzipped_bytes for layer in layers) < packages.UNZIPPED_LIMIT_BYTES
    for package in (*layers, packages.lambda_code()):
        with zipfile.ZipFile(io.BytesIO(package.content)) as archive:
            archive.extractall(folder)
    return folder


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_handler_imports_with_only_zip_and_layer(layer_folder, handler):
    if handler == "similar_products" and not packages.is_installed(packages.IMAGES):
        pytest.skip("the image model's extra is not installed: make images")
    code = (
        "import sys; "
        "sys.path = [p for p in sys.path if 'site-packages' not in p]; "
        f"sys.path[:0] = [{str(layer_folder)!r}, {str(layer_folder / 'python')!r}]; "
        f"import inference.handlers.{handler} as h, boto3; boto3.client('s3', 'us-east-1'); "
        f"assert h.__file__.startswith({str(layer_folder)!r}); "
        "import numpy; assert numpy.__file__.startswith(sys.path[1])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_archive_is_written_with_only_zip_and_layers(layer_folder):
    code = (
        f"import sys; sys.path = [{str(layer_folder)!r}, {str(layer_folder / 'python')!r}, "
        "*[p for p in sys.path if 'site-packages' not in p]]; "
        "from datetime import UTC, datetime; from inference.archive import parquet; "
        "row = {'event_id': 'e', 'timestamp': datetime.now(UTC)}; "
        "assert parquet([row], table='erasures').startswith(b'PAR1'); "
        "import pyarrow; assert pyarrow.__file__.startswith(sys.path[1])"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_time_zones_come_with_the_layer(layer_folder):
    """The Lambda runtime may have no zone database: guardrails must not depend on one."""
    code = (
        f"import sys; sys.path = [{str(layer_folder)!r}, {str(layer_folder / 'python')!r}, "
        "*[p for p in sys.path if 'site-packages' not in p]]; "
        "import zoneinfo; zoneinfo.reset_tzpath(to=[]); "
        "from inference.guardrail_rules import open_zone; "
        "assert open_zone('Europe/Paris') is not None; assert open_zone('Europe/Oz') is None"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
