"""`nextbest.toml`: the stages and the defaults of runs.

Precedence: explicit argument > environment (`NEXTBEST_STAGE`, `NEXTBEST_REGION`) >
`nextbest.toml` in the project's folder > default. An unknown key is an error that names the
nearest known one.

    default_stage = "production"

    [stages.production]
    region = "eu-west-1"
    profile = "shop"
    architecture = "arm64"          # of the Lambdas: arm64 or x86_64
    http_api = true                 # for callers without AWS credentials; AWS charges for its pool

    [runs]
    instance_type = "ml.m5.xlarge"
    use_spot = true

    [recommender]
    holdout_days = 14

    [nudge_policy]
    costs = "*=0.05"

    [image_model]
    labels = "category,colour"

    [events]                        # of data sync, and of scheduled runs
    reward_wait_hours = 72
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from pipelines.errors import StageError
from training.configuration import explain, refuse_unknown_keys
from training.errors import ConfigurationError

FILE_NAME = "nextbest.toml"
MAXIMUM_TUNING_JOBS = 30  # as many values as SageMaker lets a categorical parameter have


class StageConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One stage. `account` is asked of STS when absent; `http_api` gives each tenant one."""

    region: str = "us-east-1"
    account: str | None = None
    profile: str | None = None
    architecture: Literal["arm64", "x86_64"] = "arm64"
    lambda_runtime: str = "python3.13"
    memory_mb: int = 1024
    http_api: bool = True


class RunConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where jobs run. Spot jobs wait at most `max_wait_seconds` in all, checkpoints included.

    `tuning_jobs`: train so many times, each from another seed of the search, and keep the best;
    0 trains once. `tuning_parallel`: so many of them at a time.
    """

    instance_type: str = "ml.m5.xlarge"
    instance_count: int = 1
    volume_gb: int = 30
    max_runtime_seconds: int = 3600
    use_spot: bool = False
    max_wait_seconds: int = 7200
    tuning_jobs: Annotated[int, Meta(ge=0, le=MAXIMUM_TUNING_JOBS)] = 0
    tuning_parallel: Annotated[int, Meta(ge=1, le=MAXIMUM_TUNING_JOBS)] = 2


def with_tuning(
    runs: RunConfiguration, *, jobs: int | None, parallel: int | None
) -> RunConfiguration:
    """`runs` with other numbers of tuning jobs where given. Raises `ConfigurationError`."""
    given = {"tuning_jobs": jobs, "tuning_parallel": parallel}
    values = {key: value for key, value in given.items() if value is not None}
    try:
        return msgspec.convert({**msgspec.to_builtins(runs), **values}, RunConfiguration)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"[runs]: {explain(error, values)}") from error


class ProjectConfiguration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file, with the environment laid over it."""

    default_stage: str = "local"
    stages: dict[str, StageConfiguration] = {}
    runs: RunConfiguration = RunConfiguration()
    recommender: dict[str, Any] = {}
    nudge_policy: dict[str, Any] = {}
    image_model: dict[str, Any] = {}
    events: dict[str, Any] = {}

    def defaults(self, kind: str) -> dict[str, Any]:
        """The section of a kind of model: `[nudge_policy]` of `nudge-policy`."""
        return dict(getattr(self, kind.replace("-", "_"), {}))

    def stage(self, name: str) -> StageConfiguration:
        """The stage's section; `local` needs none."""
        found = self.stages.get(name)
        if found is None and name != "local":
            known = ", ".join(sorted({"local", *self.stages}))
            raise StageError(
                f"stage {name!r} is not in {FILE_NAME} (known: {known}). "
                f"Add a section [stages.{name}] with its region"
            )
        found = found or StageConfiguration()
        region = os.environ.get("NEXTBEST_REGION")
        return msgspec.structs.replace(found, region=region) if region else found


def load_configuration(root: Path) -> ProjectConfiguration:
    """The configuration of the project in `root`; defaults where there is no file."""
    path = root / FILE_NAME
    values = _read(path) if path.exists() else {}
    _check_keys(values)
    try:
        project = msgspec.convert(values, ProjectConfiguration)
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"{path}: {error}") from error
    stage = os.environ.get("NEXTBEST_STAGE")
    return msgspec.structs.replace(project, default_stage=stage) if stage else project


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from error


def _check_keys(values: dict[str, Any]) -> None:
    refuse_unknown_keys(values, ProjectConfiguration.__struct_fields__, where=FILE_NAME)
    if isinstance(values.get("runs"), dict):
        refuse_unknown_keys(values["runs"], RunConfiguration.__struct_fields__, where="[runs]")
    stages = values.get("stages")
    for name, stage in stages.items() if isinstance(stages, dict) else ():
        if isinstance(stage, dict):
            refuse_unknown_keys(
                stage, StageConfiguration.__struct_fields__, where=f"[stages.{name}]"
            )
