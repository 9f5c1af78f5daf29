"""Deploying a stage: packages to S3, then four kinds of CloudFormation stacks.

Foundation (bucket, tables), machines (state machines, layers, release check), events (stream,
dead letters, who records them), one stack per tenant. Used by `nextbest deploy`,
`nextbest tenant` and the demo.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from pipelines import packages
from pipelines.errors import DeployError
from pipelines.stacks import model_groups
from pipelines.stacks.changes import (
    DEAD,
    Progress,
    StackPlan,
    describe,
    drop,
    execute,
    outputs,
    plan,
)
from pipelines.stacks.tenancy import remove_tenant, require_stack, require_tenant, tenants
from pipelines.stage import Stage, check_tenant

__all__ = [
    "add_tenant",
    "deploy",
    "plan_all",
    "remove_tenant",
    "require_stack",
    "require_tenant",
    "tenants",
]
CACHE = Path(".nextbest") / "cache"
NONE_KEY = "none/none.json"
_TRAINING_IMAGE = ("pytorch", "2.5", "py311")


@dataclass(frozen=True)
class Upload:
    """An object that the stacks refer to, by key."""

    key: str
    content: bytes


@dataclass(frozen=True)
class Material:
    """Everything a deployment needs: objects to upload and the stacks' parameters."""

    uploads: tuple[Upload, ...]
    machines: dict[str, str]
    shared: dict[str, str]
    tenant: dict[str, str]


def material(stage: Stage) -> Material:
    """Build the packages and definitions of this source tree for a stage."""
    from state_machines.render import as_json, machines

    code, source = packages.lambda_code(), packages.training_source()
    image_source = packages.training_source(packages.IMAGE_JOB_DISTRIBUTIONS)
    layer, archive = _layer(stage, packages.DEPENDENCIES), _layer(stage, packages.ARCHIVE)
    images = _images_layer(stage)
    prefix, image_prefix = (f"code/training/{s.digest}" for s in (source, image_source))
    definitions = {name: as_json(body).encode() for name, body in machines().items()}
    keys = {name: f"code/machines/{name}-{_digest(b)}.json" for name, b in definitions.items()}
    code_key, layer_key = f"code/lambda/{code.digest}.zip", _layer_key(layer)
    archive_key, images_key = _layer_key(archive), _layer_key(images) if images else ""
    uploads = [
        Upload(NONE_KEY, b"{}"),
        Upload(code_key, code.content),
        Upload(layer_key, layer.content),
        Upload(archive_key, archive.content),
        *([Upload(images_key, images.content)] if images else []),
        *_source_uploads(prefix, source),
        *_source_uploads(image_prefix, image_source),
        *[Upload(keys[name], body) for name, body in definitions.items()],
    ]
    shared = {
        "Stage": stage.name,
        "Bucket": stage.bucket,
        "LambdaCodeKey": code_key,
        "Runtime": stage.configuration.lambda_runtime,
        "Architecture": stage.configuration.architecture,
    }
    machine_parameters = {
        **shared,
        "LayerKey": layer_key,
        "ArchiveLayerKey": archive_key,
        "ImagesLayerKey": images_key,
        "SourcePrefix": prefix,
        "ImageSourcePrefix": image_prefix,
        "TrainingImage": training_image(stage),
        "TrainDefinitionKey": keys["train-recommender"],
        "TrainNudgePolicyDefinitionKey": keys["train-nudge-policy"],
        "TrainImageModelDefinitionKey": keys["train-image-model"],
        "ReleaseDefinitionKey": keys["release-model"],
        "RetrainDefinitionKey": keys["retrain"],
    }
    tenant = {
        **shared,
        "MemoryMegabytes": str(stage.configuration.memory_mb),
        "HttpApi": "true" if stage.configuration.http_api else "false",
    }
    return Material(tuple(uploads), machine_parameters, shared, tenant)


def _source_uploads(prefix: str, source: packages.Package) -> list[Upload]:
    """What the jobs of a source need under its prefix."""
    return [
        Upload(f"{prefix}/sourcedir.tar.gz", source.content),
        Upload(f"{prefix}/run_processing.sh", packages.processing_script()),
    ]


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def _layer_key(layer: packages.Package) -> str:
    return f"code/layer/{layer.digest}.zip"


def _images_layer(stage: Stage) -> packages.Package | None:
    """What similar-products needs besides; None on a machine that could not train its model."""
    if stage.is_local and not packages.is_installed(packages.IMAGES):
        return None
    return _layer(stage, packages.IMAGES)


def _layer(stage: Stage, name: str) -> packages.Package:
    return packages.dependency_layer(
        name,
        target="local" if stage.is_local else "aws",
        runtime=stage.configuration.lambda_runtime,
        architecture=stage.configuration.architecture,
        cache=CACHE,
    )


def training_image(stage: Stage) -> str:
    """AWS's own prebuilt image for the jobs, by the SageMaker SDK's offline table."""
    from sagemaker import image_uris

    framework, version, python = _TRAINING_IMAGE
    return str(
        image_uris.retrieve(
            framework,
            stage.region,
            version=version,
            py_version=python,
            image_scope="training",
            instance_type="ml.m5.xlarge",
        )
    )


def plan_all(stage: Stage) -> list[str]:
    """What `deploy` would do, in sentences; empty when nothing. Changes nothing."""
    built = material(stage)
    client = stage.client("cloudformation")
    sentences = [f"upload {u.key}, {len(u.content):,} bytes" for u in _missing(stage, built)]
    for stack, template, parameters in _stacks(stage, built):
        known = describe(client, stack)
        dead = known is not None and known["StackStatus"] in DEAD
        if dead or parameters is None or (known is None and template != "foundation.yaml"):
            sentences.append(f"{stack}: create the stack from {template}")
            continue
        found = plan(stage, stack, template, parameters, tags=_tags(stage))
        sentences += [f"{stack}: {change}" for change in found.changes]
        drop(stage, found)
    return sentences


def deploy(stage: Stage, *, progress: Progress) -> bool:
    """Make the stage what the source says; False when it was so already."""
    progress("build the packages")
    built = material(stage)
    changed = _apply(stage, stage.foundation_stack, "foundation.yaml", _foundation(stage), progress)
    missing = _missing(stage, built)
    for upload in missing:
        progress(f"upload {upload.key}, {len(upload.content):,} bytes")
        stage.client("s3").put_object(Bucket=stage.bucket, Key=upload.key, Body=upload.content)
    changed |= _apply(stage, stage.machines_stack, "machines.yaml", built.machines, progress)
    events = _events(stage, built)
    changed |= _apply(stage, stage.events_stack, "events.yaml", events, progress)
    for tenant in tenants(stage):
        changed |= _apply_tenant(stage, tenant, built, progress)
    return changed or bool(missing)


def add_tenant(stage: Stage, tenant: str, *, progress: Progress) -> bool:
    """Create or update one tenant's stack; False when it was there, unchanged."""
    check_tenant(tenant)
    if describe(stage.client("cloudformation"), stage.machines_stack) is None:
        raise DeployError(
            f"stage {stage.name!r} is not deployed; run: nextbest deploy --stage {stage.name}"
        )
    return _apply_tenant(stage, tenant, material(stage), progress)


def _stacks(stage: Stage, built: Material) -> list[tuple[str, str, dict[str, str] | None]]:
    known = describe(stage.client("cloudformation"), stage.machines_stack)
    found: list[tuple[str, str, dict[str, str] | None]] = [
        (stage.foundation_stack, "foundation.yaml", _foundation(stage)),
        (stage.machines_stack, "machines.yaml", built.machines),
        (stage.events_stack, "events.yaml", _events(stage, built) if known else None),
    ]
    for tenant in tenants(stage):
        parameters = _tenant_parameters(stage, tenant, built) if known else None
        found.append((stage.tenant_stack(tenant), "tenant.yaml", parameters))
    return found


def _foundation(stage: Stage) -> dict[str, str]:
    return {"BucketName": stage.bucket, **_tables(stage)}


def _events(stage: Stage, built: Material) -> dict[str, str]:
    known = outputs(stage, stage.machines_stack)
    layers = {"LayerArn": known["LayerArn"], "ArchiveLayerArn": known.get("ArchiveLayerArn", "")}
    return {**built.shared, **layers, **_tables(stage)}


def _tables(stage: Stage) -> dict[str, str]:
    return {"ProfilesName": stage.profiles_table, "ProductsName": stage.products_table}


def _tags(stage: Stage) -> dict[str, str]:
    return {"nextbest:stage": stage.name}


def _tenant_parameters(stage: Stage, tenant: str, built: Material) -> dict[str, str]:
    known = outputs(stage, stage.machines_stack)
    layers = {"LayerArn": known["LayerArn"], "ImagesLayerArn": known.get("ImagesLayerArn", "")}
    groups = model_groups.parameters(stage, tenant)
    return {**built.tenant, "Tenant": tenant, **layers, **groups}


def _apply_tenant(stage: Stage, tenant: str, built: Material, progress: Progress) -> bool:
    parameters = _tenant_parameters(stage, tenant, built)
    return _apply(stage, stage.tenant_stack(tenant), "tenant.yaml", parameters, progress)


def _apply(
    stage: Stage, stack: str, template: str, parameters: dict[str, str], progress: Progress
) -> bool:
    found: StackPlan = plan(stage, stack, template, parameters, tags=_tags(stage))
    execute(stage, found, progress=progress)
    return bool(found.changes)


def _missing(stage: Stage, built: Material) -> list[Upload]:
    """Uploads whose key is not there yet: keys name content, so there is nothing to compare."""
    s3 = stage.client("s3")
    return [upload for upload in built.uploads if not _exists(s3, stage.bucket, upload.key)]


def _exists(s3: Any, bucket: str, key: str) -> bool:
    try:
        s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NoSuchBucket"):
            return False
        raise
    return True
