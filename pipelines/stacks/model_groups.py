"""Model package groups outlive their tenant's stack: which of them a stack has to make.

CloudFormation keeps them (`DeletionPolicy: Retain`), since they hold what was released, and would
not make one under the same name again. A tenant that comes back goes on with those it had.
"""

from __future__ import annotations

from typing import Any

from botocore.exceptions import ClientError

from pipelines.stage import IMAGE_MODEL, NUDGE_POLICY, RECOMMENDER, Stage

# The logical ids of tenant.yaml.
_RESOURCES = {
    RECOMMENDER: "Recommenders",
    NUDGE_POLICY: "NudgePolicies",
    IMAGE_MODEL: "ImageModels",
}
_GONE = ("DELETE_COMPLETE", "DELETE_SKIPPED")


def parameters(stage: Stage, tenant: str) -> dict[str, str]:
    """`Make<resource>` of tenant.yaml: "false" where a group is there that is not the stack's."""
    own = _resources(stage.client("cloudformation"), stage.tenant_stack(tenant))
    registry = stage.client("sagemaker")
    return {
        f"Make{resource}": "true"
        if resource in own or not _exists(registry, stage.model_group(tenant, kind))
        else "false"
        for kind, resource in _RESOURCES.items()
    }


def _resources(client: Any, stack: str) -> set[str]:
    """The logical ids of what a stack holds; none where there is no stack."""
    pages = client.get_paginator("list_stack_resources").paginate(StackName=stack)
    try:
        found = [item for page in pages for item in page["StackResourceSummaries"]]
    except ClientError as error:
        if "does not exist" in str(error):
            return set()
        raise
    return {item["LogicalResourceId"] for item in found if item["ResourceStatus"] not in _GONE}


def _exists(client: Any, group: str) -> bool:
    try:
        client.describe_model_package_group(ModelPackageGroupName=group)
    except ClientError as error:
        if "does not exist" in str(error):
            return False
        raise
    return True
