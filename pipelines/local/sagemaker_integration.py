"""Ties the local SageMaker into ministack: HTTP, Step Functions, CloudFormation, persistence."""

from __future__ import annotations

import json
import types
from collections.abc import Callable
from typing import Any

from pipelines.local import tuning
from pipelines.local.registry import ServiceError
from pipelines.local.sagemaker import Service

_KINDS = ("TrainingJob", "ProcessingJob", tuning.KIND)
_JSON = "application/x-amz-json-1.1"


def as_module(service: Service) -> types.ModuleType:
    """The service in the shape of one of ministack's modules."""
    module = types.ModuleType("ministack.services.sagemaker")
    actions = service.actions()

    async def handle_request(
        method: str, path: str, headers: dict, body: bytes, query: dict
    ) -> Any:
        action = headers.get("x-amz-target", "").rpartition(".")[2]
        status, answer = _answer(actions, action, json.loads(body or b"{}"))
        return status, {"Content-Type": _JSON}, json.dumps(answer).encode()

    module.__dict__.update(
        handle_request=handle_request,
        get_state=service.state,
        load_persisted_state=service.restore,
        reset=service.reset,
    )
    return module


def _answer(actions: dict[str, Callable[[dict], dict]], action: str, data: dict) -> Any:
    if action not in actions:
        message = f"{action} is not part of the local stage's SageMaker"
        return 400, {"__type": "UnknownOperationException", "message": message}
    try:
        return 200, actions[action](data)
    except ServiceError as error:
        return 400, {"__type": error.code, "message": str(error)}
    except KeyError as error:
        return 400, {"__type": "ValidationException", "message": f"{error} is required"}


def register(service: Service, module: types.ModuleType) -> None:
    """Into the tables that route requests, tasks, resources and saved state."""
    from ministack import app
    from ministack.core import router
    from ministack.services import stepfunctions
    from ministack.services.cloudformation import provisioners

    app.SERVICE_REGISTRY["sagemaker"] = {"module": "sagemaker"}
    app.SERVICE_HANDLERS["sagemaker"] = module.handle_request
    app._state_map["sagemaker"] = "sagemaker"
    app._loaded_modules["sagemaker"] = module
    router.SERVICE_PATTERNS["sagemaker"] = {"target_prefixes": ["SageMaker"]}
    stepfunctions._AWS_SDK_SERVICE_MAP["sagemaker"] = {
        "target_prefix": "SageMaker",
        "protocol": "json",
    }
    stepfunctions._AWS_SDK_ERROR_PREFIX["sagemaker"] = "SageMaker"
    for kind in _KINDS:
        task = _job_task(service, kind)
        stepfunctions._SERVICE_DISPATCH[f"arn:aws:states:::sagemaker:create{kind}"] = task
    provisioners._RESOURCE_HANDLERS["AWS::SageMaker::ModelPackageGroup"] = {
        "create": _group_creator(service),
        "delete": _group_deleter(service),
    }


def _job_task(service: Service, kind: str) -> Callable[[str, dict], dict]:
    def run(resource: str, data: dict) -> dict:
        from ministack.services.stepfunctions import _ExecutionError

        from pipelines.local.corrections import current_execution

        try:
            created = _create(service, kind, data)
        except ServiceError as error:
            name = f"SageMaker.{error.code}Exception".replace("ExceptionException", "Exception")
            raise _ExecutionError(name, str(error)) from error
        if not resource.endswith(".sync"):
            return created
        execution = current_execution()
        job = _wait(
            service,
            kind,
            data[f"{kind}Name"],
            gone=lambda: execution is not None and execution["status"] != "RUNNING",
        )
        if job[f"{kind}Status"] != "Completed":
            raise _ExecutionError("States.TaskFailed", json.dumps(job))
        return job

    run.__name__ = f"create{kind}"
    return run


def _create(service: Service, kind: str, data: dict) -> dict:
    return service.tuning.create(data) if kind == tuning.KIND else service.create(kind, data)


def _wait(service: Service, kind: str, name: str, *, gone: Callable[[], bool]) -> dict:
    if kind == tuning.KIND:
        return service.tuning.wait(name, gone=gone)
    return service.wait(kind, name, gone=gone)


def _group_creator(service: Service) -> Callable[[str, dict, str], tuple[str, dict]]:
    def create(logical_id: str, properties: dict, stack_name: str) -> tuple[str, dict]:
        created = service.registry.create_group(properties)
        arn = created["ModelPackageGroupArn"]
        return arn, {"ModelPackageGroupArn": arn, "ModelPackageGroupStatus": "Completed"}

    return create


def _group_deleter(service: Service) -> Callable[[str, dict], None]:
    def delete(physical_id: str, properties: dict) -> None:
        service.registry.groups.pop(physical_id.rpartition("/")[2], None)

    return delete
