"""Where we are: a stage's region, account, endpoint and the name of every resource on it.

A stage is an AWS account and region, or `local`, the small cloud of `pipelines.local`. Names are
made here and nowhere else. Used by every command and by `Workspace`.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from inference.sync_layout import POINTERS as SYNCED
from pipelines.configuration import ProjectConfiguration, StageConfiguration, load_configuration
from pipelines.errors import StageError, TenantError

LOCAL = "local"
LOCAL_ACCOUNT = "000000000000"
DECISIONS = ("next-best-product", "nudge", "similar-products")
RECOMMENDER, NUDGE_POLICY, IMAGE_MODEL = "recommender", "nudge-policy", "image-model"
KINDS = (RECOMMENDER, NUDGE_POLICY, IMAGE_MODEL)
# What a kind of model learns from has its own newest data set.
POINTERS = {
    RECOMMENDER: SYNCED["interactions"],
    NUDGE_POLICY: SYNCED["nudges"],
    IMAGE_MODEL: "latest-images.json",
}
_TENANT = re.compile(r"[a-z](?:[a-z0-9]|-(?=[a-z0-9])){0,19}")
_RESERVED = ("record",)  # its events function would be called as the stage's own


def check_tenant(tenant: str) -> str:
    """The tenant's name as given, or `TenantError` if names of AWS resources cannot hold it."""
    if _TENANT.fullmatch(tenant) is None or tenant in _RESERVED:
        raise TenantError(
            f"{tenant!r} cannot name a tenant: expected 1 to 20 lower-case letters, digits and "
            "single hyphens, starting with a letter, e.g. 'acme' or 'shop-fr', but not "
            f"{', '.join(_RESERVED)}"
        )
    return tenant


@dataclass(frozen=True)
class Stage:
    """One place nextbest is deployed to. `endpoint_url` is None on AWS."""

    name: str
    region: str
    account: str
    configuration: StageConfiguration = field(repr=False)
    endpoint_url: str | None = None
    profile: str | None = None

    @property
    def is_local(self) -> bool:
        return self.name == LOCAL

    @property
    def prefix(self) -> str:
        return f"nextbest-{self.name}"

    @property
    def bucket(self) -> str:
        return f"{self.prefix}-{self.account}-{self.region}"

    @property
    def profiles_table(self) -> str:
        """The DynamoDB table of what is known of customers online."""
        return f"{self.prefix}-profiles"

    @property
    def products_table(self) -> str:
        """The DynamoDB table of what changed of products."""
        return f"{self.prefix}-products"

    @property
    def event_stream(self) -> str:
        """The Kinesis stream that producers put events on."""
        return f"{self.prefix}-events"

    @property
    def decision_stream(self) -> str:
        """The Kinesis stream that the decision Lambdas put their decisions on."""
        return f"{self.prefix}-decisions"

    @property
    def unsent_decisions(self) -> str:
        """The SQS queue of decisions that the stream did not take."""
        return f"{self.prefix}-unsent-decisions"

    @property
    def dead_letters(self) -> str:
        """The SQS queue of events and decisions that could not be recorded."""
        return f"{self.prefix}-dead-letters"

    @property
    def events_stack(self) -> str:
        return f"{self.prefix}-events"

    @property
    def foundation_stack(self) -> str:
        return f"{self.prefix}-foundation"

    @property
    def machines_stack(self) -> str:
        return f"{self.prefix}-machines"

    def tenant_stack(self, tenant: str) -> str:
        return f"{self.prefix}-tenant-{check_tenant(tenant)}"

    def function(self, tenant: str, decision: str) -> str:
        return f"{self.prefix}-{check_tenant(tenant)}-{decision}"

    def machine(self, name: str) -> str:
        """`train-recommender`, `release-model`, `retrain` …"""
        return f"{self.prefix}-{name}"

    def machine_arn(self, name: str) -> str:
        return f"arn:aws:states:{self.region}:{self.account}:stateMachine:{self.machine(name)}"

    def execution_arn(self, machine: str, run: str) -> str:
        return (
            f"arn:aws:states:{self.region}:{self.account}:execution:{self.machine(machine)}:{run}"
        )

    def role_arn(self, name: str) -> str:
        return f"arn:aws:iam::{self.account}:role/{self.prefix}-{name}"

    def model_group(self, tenant: str, kind: str) -> str:
        """The SageMaker model package group of a tenant's models of one kind."""
        return f"{self.prefix}-{check_tenant(tenant)}-{kind}"

    @property
    def schedule_group(self) -> str:
        return self.prefix

    def schedule(self, tenant: str, kind: str) -> str:
        return f"{check_tenant(tenant)}-{kind}"

    def tenant_prefix(self, tenant: str) -> str:
        """Key prefix of all that belongs to one tenant, without a slash at the end."""
        return f"tenants/{check_tenant(tenant)}"

    def datasets_prefix(self, tenant: str) -> str:
        return f"{self.tenant_prefix(tenant)}/datasets"

    def run_prefix(self, tenant: str, run: str) -> str:
        return f"{self.tenant_prefix(tenant)}/runs/{run}"

    def dataset_pointer(self, tenant: str, kind: str) -> str:
        """Key of what names the tenant's newest data set for a kind of model."""
        if kind not in POINTERS:
            raise StageError(
                f"unknown kind of model {kind!r}; expected one of {', '.join(POINTERS)}"
            )
        return f"{self.datasets_prefix(tenant)}/{POINTERS[kind]}"

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    @cached_property
    def session(self) -> boto3.Session:
        if self.is_local:
            # The emulator reads the account from the key: any secret will do.
            return boto3.Session(
                aws_access_key_id=LOCAL_ACCOUNT,
                aws_secret_access_key="local",
                region_name=self.region,
            )
        return boto3.Session(profile_name=self.profile, region_name=self.region)

    def client(self, service: str) -> Any:
        """A boto3 client of this stage; retries are boto3's standard mode."""
        return self.session.client(service, endpoint_url=self.endpoint_url, config=self._config)

    @property
    def _config(self) -> Config:
        config = Config(retries={"mode": "standard", "max_attempts": 4})
        local = Config(inject_host_prefix=False, proxies={})  # this machine is asked directly
        return config.merge(local) if self.is_local else config


def open_stage(
    name: str | None = None, *, root: Path | None = None, endpoint_url: str | None = None
) -> Stage:
    """The stage of that name (default: `NEXTBEST_STAGE`, else `nextbest.toml`, else `local`).

    On `local` the small cloud is started if it is not running, unless `endpoint_url` says where
    one is. `root` is the project's folder, whose `.nextbest/` holds the local state.
    """
    root = root or Path.cwd()
    project = load_configuration(root)
    name = name or project.default_stage
    if name == LOCAL:
        return _local_stage(project, endpoint_url or _running_endpoint(root))
    return _aws_stage(name, project)


def _local_stage(project: ProjectConfiguration, endpoint_url: str) -> Stage:
    configuration = project.stage(LOCAL)
    return Stage(
        name=LOCAL,
        region=configuration.region,
        account=LOCAL_ACCOUNT,
        configuration=configuration,
        endpoint_url=endpoint_url,
    )


def _running_endpoint(root: Path) -> str:
    from pipelines.local import cloud  # only where a local stage is wanted

    return cloud.up(root).endpoint_url


def _aws_stage(name: str, project: ProjectConfiguration) -> Stage:
    configuration = project.stage(name)
    account = configuration.account or _caller_account(name, configuration)
    return Stage(
        name=name,
        region=configuration.region,
        account=account,
        configuration=configuration,
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL"),
        profile=configuration.profile,
    )


def _caller_account(name: str, configuration: StageConfiguration) -> str:
    from botocore.exceptions import BotoCoreError, ClientError

    session = boto3.Session(profile_name=configuration.profile, region_name=configuration.region)
    try:
        return str(session.client("sts").get_caller_identity()["Account"])
    except (BotoCoreError, ClientError) as error:
        raise StageError(
            f"stage {name!r} needs AWS credentials for {configuration.region}: {error}. "
            "Set a profile under [stages." + name + "] in nextbest.toml, or use --stage local"
        ) from error
