"""A tenant that was removed can come back; one that could not be made stops nobody else."""

from __future__ import annotations

import json

import pytest
from botocore.exceptions import WaiterError

from pipelines import stacks
from pipelines.errors import TenantError
from pipelines.runs import RunRequest
from pipelines.schedules import list_schedules, set_schedule

GROUP = {
    "Type": "AWS::SageMaker::ModelPackageGroup",
    "Properties": {"ModelPackageGroupName": "twice"},
}
TWICE = json.dumps({"Resources": {"First": GROUP, "Second": GROUP}})


def silent(line: str) -> None:
    """Nobody listens."""


def released(stage, tenant):
    """The versions in a tenant's registry of recommenders."""
    group = stage.model_group(tenant, "recommender")
    found = stage.client("sagemaker").list_model_packages(ModelPackageGroupName=group)
    return [item["ModelPackageVersion"] for item in found["ModelPackageSummaryList"]]


def fail(stage, stack):
    """A stack of that name whose creation fails: it wants two groups of one name."""
    client = stage.client("cloudformation")
    client.create_stack(StackName=stack, TemplateBody=TWICE)
    waiter = client.get_waiter("stack_create_complete")
    with pytest.raises(WaiterError):
        waiter.wait(StackName=stack, WaiterConfig={"Delay": 1, "MaxAttempts": 30})


def test_a_removed_tenant_comes_back_to_its_data_and_models(deployed_stage):
    stage, bucket = deployed_stage, deployed_stage.bucket
    key = f"{stage.datasets_prefix('again')}/kept.txt"
    assert stacks.add_tenant(stage, "again", progress=silent)
    stage.client("s3").put_object(Bucket=bucket, Key=key, Body=b"kept")
    stage.client("sagemaker").create_model_package(
        ModelPackageGroupName=stage.model_group("again", "recommender")
    )
    for _ in range(2):
        stacks.remove_tenant(stage, "again", progress=silent)
        assert "again" not in stacks.tenants(stage)
        assert stacks.add_tenant(stage, "again", progress=silent)
        assert "again" in stacks.tenants(stage)
        assert released(stage, "again") == [1]
        assert stage.client("s3").get_object(Bucket=bucket, Key=key)["Body"].read() == b"kept"
    assert stacks.plan_all(stage) == []
    assert not stacks.deploy(stage, progress=silent)
    assert not stacks.add_tenant(stage, "again", progress=silent)
    stacks.remove_tenant(stage, "again", progress=silent)


def test_a_tenant_takes_its_schedules_along_and_no_other_s(deployed_stage):
    stage, said = deployed_stage, []
    for tenant in ("leaves", "stays"):
        stacks.add_tenant(stage, tenant, progress=silent)
        for kind in ("recommender", "nudge-policy"):
            request = RunRequest(kind, tenant, {})
            set_schedule(stage, request, expression="rate(7 days)")
    stacks.remove_tenant(stage, "leaves", progress=said.append)
    assert "recommender is no longer scheduled" in said
    assert list_schedules(stage, tenant="leaves") == []
    assert len(list_schedules(stage, tenant="stays")) == 2
    stacks.remove_tenant(stage, "stays", progress=silent)


def test_a_registry_lost_meanwhile_is_made_again(deployed_stage):
    stage = deployed_stage
    stacks.add_tenant(stage, "lost", progress=silent)
    stacks.remove_tenant(stage, "lost", progress=silent)
    group = stage.model_group("lost", "nudge-policy")
    stage.client("sagemaker").delete_model_package_group(ModelPackageGroupName=group)
    stacks.add_tenant(stage, "lost", progress=silent)
    stage.client("sagemaker").describe_model_package_group(ModelPackageGroupName=group)
    assert stacks.plan_all(stage) == []
    stacks.remove_tenant(stage, "lost", progress=silent)


def test_a_tenant_that_could_not_be_made_is_none_and_can_be_removed(deployed_stage):
    stage, stack = deployed_stage, deployed_stage.tenant_stack("halfway")
    fail(stage, stack)
    assert "halfway" not in stacks.tenants(stage)
    with pytest.raises(TenantError, match="its stack ended as ROLLBACK_COMPLETE"):
        stacks.require_tenant(stage, "halfway")
    assert stacks.plan_all(stage) == []
    assert not stacks.deploy(stage, progress=silent)
    assert stacks.require_stack(stage, "halfway") == "ROLLBACK_COMPLETE"
    assert stacks.add_tenant(stage, "halfway", progress=silent)
    stacks.remove_tenant(stage, "halfway", progress=silent)
    fail(stage, stack)
    stacks.remove_tenant(stage, "halfway", progress=silent)
    with pytest.raises(TenantError, match="no tenant 'halfway'"):
        stacks.remove_tenant(stage, "halfway", progress=silent)
