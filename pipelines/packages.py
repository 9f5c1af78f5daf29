"""Immutable, content-addressed packages: Lambda code, dependency layer, training source.

Same source → same bytes → same name, on any machine. Used by the deployer.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from pipelines.errors import DeployError

ROOT = Path(__file__).resolve().parent.parent
LAMBDA_DISTRIBUTIONS = ("numpy", "msgspec", "boto3", "tzdata")
DEPENDENCIES, ARCHIVE, IMAGES = "dependencies", "archive", "images"
JOB_DISTRIBUTIONS = (
    "numpy",
    "msgspec",
    "scipy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "implicit",
    "threadpoolctl",
    "tzdata",
)
# Of the image model's jobs; torch is in SageMaker's PyTorch image.
IMAGE_JOB_DISTRIBUTIONS = (*JOB_DISTRIBUTIONS, "onnx", "onnxruntime", "pillow")
UNZIPPED_LIMIT_BYTES = 250 * 2**20
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Of onnxruntime only what runs a graph: the library besides the extension is for other languages.
_ONNXRUNTIME = re.compile(
    r"python/onnxruntime/(transformers|tools|quantization|datasets|backend|capi/libonnxruntime\.so)"
)
# Of pyarrow only what `pyarrow.parquet` loads; its libraries are linked to each other.
_PYARROW = re.compile(
    r"python/pyarrow/(?!(.*\.py|(lib|_compute|_fs|_parquet)\.[^/]*(so|pyd)|lib(arrow|parquet)"
    r"(_acero|_compute|_dataset|_python|_substrait)?(\.so\.\d+|\.\d+\.dylib))$)"
)
# Services that a Lambda of ours calls; botocore carries the descriptions of all 400.
SERVICES = ("dynamodb", "firehose", "kinesis", "lambda", "s3", "sqs", "sts")
_BOTOCORE_DATA = re.compile(r"python/botocore/data/(?P<name>[^/]+)/")
# Not needed to run, or different on every machine that installs the same wheel.
_TRIMMED = re.compile(
    r"(^|/)(tests|__pycache__|[^/]*\.pyi|RECORD|INSTALLER|REQUESTED|direct_url\.json)(/|$)"
)
_JOB_SCRIPT = "from training.job import main\n\nmain()\n"
_PROCESSING_SCRIPT = """#!/bin/bash
# Runs one step in a SageMaker processing job: unpack the source beside this file, install, go.
set -euo pipefail
cd "$(dirname "$0")"
tar -xzf sourcedir.tar.gz
if [ -z "${NEXTBEST_SKIP_INSTALL:-}" ]; then
    python -m pip install --quiet --requirement requirements.txt
fi
exec python nextbest_job.py "$@"
"""


@dataclass(frozen=True)
class Package:
    """Bytes and what they are called after; `unzipped_bytes` is what Lambda counts."""

    content: bytes
    digest: str
    unzipped_bytes: int


def lambda_code() -> Package:
    """The zip of every decision Lambda: `inference/`, nothing else."""
    return _zip(_sources("inference"))


def training_source(distributions: Iterable[str] = JOB_DISTRIBUTIONS) -> Package:
    """`sourcedir.tar.gz` of the jobs: `training/`, `inference/`, entry point, requirements."""
    files = {**_sources("training"), **_sources("inference")}
    files["nextbest_job.py"] = _JOB_SCRIPT.encode()
    files["requirements.txt"] = requirements(distributions).encode()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in sorted(files.items()):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))
    return _package(gzip.compress(buffer.getvalue(), mtime=0), sum(map(len, files.values())))


def processing_script() -> bytes:
    """What a processing job's container runs, beside `sourcedir.tar.gz`."""
    return _PROCESSING_SCRIPT.encode()


def _sources(package: str) -> dict[str, bytes]:
    paths = sorted((ROOT / package).rglob("*.py"))
    return {str(path.relative_to(ROOT)): path.read_bytes() for path in paths}


def requirements(distributions: Iterable[str]) -> str:
    """Pins of these distributions, from `constraints.txt`."""
    pins = _pins()
    return "".join(f"{name}=={pins[_normal(name)]}\n" for name in sorted(distributions))


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line and not line.startswith("#"))
    return {_normal(name): version.strip() for name, version in pairs}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def closure(distributions: Iterable[str]) -> list[str]:
    """These distributions and all they require here, by name."""
    found: dict[str, None] = {}
    todo = [_normal(name) for name in distributions]
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found[name] = None
        for text in metadata.requires(name) or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(_normal(requirement.name))
    return sorted(found)


def layer_distributions(layer: str) -> list[str]:
    """What a layer holds. A new layer is a line here and a resource in `stacks/machines.yaml`.

    The others go on top of `dependencies`; `images` without what onnxruntime requires besides
    numpy: protobuf and flatbuffers are not needed to run a graph.
    """
    if layer == ARCHIVE:
        return ["pyarrow"]
    if layer == IMAGES:
        return ["onnxruntime", "pillow"]
    return closure(LAMBDA_DISTRIBUTIONS)


def is_installed(layer: str) -> bool:
    """Whether this interpreter has what the layer holds, so that `local` can be given it."""
    return all(map(_is_installed, layer_distributions(layer)))


def _is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def layer_key(layer: str = DEPENDENCIES, *, target: str, runtime: str, architecture: str) -> str:
    """Names a layer by what goes into it, so that an unchanged one need not be built."""
    names = layer_distributions(layer)
    text = f"4 {target} {runtime} {architecture}\n{requirements(names)}"
    if target == "local":
        text += sys.version
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def dependency_layer(
    layer: str = DEPENDENCIES, *, target: str, runtime: str, architecture: str, cache: Path
) -> Package:
    """The Lambdas' dependencies as a layer zip (`python/…`), built once per `layer_key`.

    `target` is `aws` (manylinux wheels of `runtime` and `architecture`) or `local` (this
    interpreter's). Raises `DeployError` when a wheel is missing or the result is over 250 MB.
    """
    key = layer_key(layer, target=target, runtime=runtime, architecture=architecture)
    cached = cache / f"layer-{key}.zip"
    if not cached.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            names = layer_distributions(layer)
            _fill(Path(folder), names, target=target, runtime=runtime, architecture=architecture)
            built = _zip(_tree(Path(folder)))
        partial = cached.with_suffix(".partial")
        partial.write_bytes(built.content)
        partial.rename(cached)
    content = cached.read_bytes()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        size = sum(item.file_size for item in archive.infolist())
    if size > UNZIPPED_LIMIT_BYTES:
        raise DeployError(f"the layer is {size / 2**20:.0f} MB unzipped; Lambda takes 250 MB")
    return _package(content, size)


def _fill(folder: Path, names: list[str], *, target: str, runtime: str, architecture: str) -> None:
    if target == "local":
        for name in names:
            _copy_installed(name, folder)
    else:
        _install_wheels(names, folder, runtime=runtime, architecture=architecture)


def _copy_installed(name: str, folder: Path) -> None:
    distribution = metadata.distribution(name)
    for file in distribution.files or []:
        source = Path(str(distribution.locate_file(file)))
        if ".." not in file.parts and source.is_file():
            target = folder / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _install_wheels(names: list[str], folder: Path, *, runtime: str, architecture: str) -> None:
    machine = {"arm64": "aarch64", "x86_64": "x86_64"}[architecture]
    tags = [f"manylinux_2_{n}_{machine}" for n in (34, 28, 27, 17)] + [f"manylinux2014_{machine}"]
    platforms = [word for tag in tags for word in ("--platform", tag)]
    version = runtime.removeprefix("python")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    command += [str(folder), *platforms, "--python-version", version, "--implementation", "cp"]
    command += ["--only-binary=:all:", "--no-compile", *requirements(names).split()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().splitlines()[-1:]
        raise DeployError(f"no layer for {runtime} on {architecture}: {' '.join(last)}")


def _tree(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    named = {f"python/{path.relative_to(folder)}": path for path in files}
    return {name: p.read_bytes() for name, p in named.items() if _is_needed(name)}


def _is_needed(name: str) -> bool:
    """Whether a file of a layer is ever read: no tests, and of botocore only our services."""
    if _TRIMMED.search(name) or _ONNXRUNTIME.match(name) or _PYARROW.match(name):
        return False
    service = _BOTOCORE_DATA.match(name)
    return service is None or service["name"] in SERVICES


def _zip(files: Mapping[str, bytes]) -> Package:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=3) as archive:
        for name, content in sorted(files.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return _package(buffer.getvalue(), sum(map(len, files.values())))


def _package(content: bytes, unzipped_bytes: int) -> Package:
    return Package(content, hashlib.sha256(content).hexdigest()[:16], unzipped_bytes)
