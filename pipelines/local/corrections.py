"""Where ministack 1.5.33 differs from AWS in something nextbest relies on.

One function a difference, with the symptom; `install` applies them all in the server's process.
tests/integration/test_corrections.py shows each difference, and tells when one is needed no more.
"""

from __future__ import annotations

import contextvars
import json
import re
from typing import Any

_CURRENT: contextvars.ContextVar[dict | None] = contextvars.ContextVar("execution", default=None)
_CLASS_LINE = re.compile(r"^(?:[\w]+\.)*(?P<name>[A-Z]\w*)(?:: |$)")


def install(*, without: frozenset[str] = frozenset()) -> None:
    """Apply every correction but those named in `without` (for the tests that show them)."""
    for correction in CORRECTIONS:
        if correction.__name__ not in without:
            correction()


def current_execution() -> dict | None:
    """The execution whose task is being carried out on this thread."""
    return _CURRENT.get()


def answer_without_waiting_for_a_log_line() -> None:
    """A Lambda that prints nothing waits 50 ms a call for a first log line; AWS does not."""
    from ministack.core import lambda_runtime

    original = lambda_runtime.Worker._drain_stderr_bounded

    def drain(self: Any, *_: Any, **__: Any) -> str:
        return str(original(self, first_line_wait=0.001, idle_confirm=0.001))

    lambda_runtime.Worker._drain_stderr_bounded = drain


def keep_the_exception_class_of_a_lambda() -> None:
    """errorType is `Runtime.HandlerError` whatever was raised, so `ErrorEquals` cannot match."""
    from ministack.services import lambda_svc

    original = lambda_svc._execute_function

    def execute(func: dict, event: Any) -> dict:
        result = original(func, event)
        body = result.get("body")
        if result.get("error") and isinstance(body, dict):
            name = _raised_class(str(result.get("log", "")))
            if name and body.get("errorType") == "Runtime.HandlerError":
                body["errorType"] = name
        return dict(result)

    lambda_svc._execute_function = execute


def _raised_class(log: str) -> str | None:
    """The class in the last line of a traceback."""
    for line in reversed(log.splitlines()):
        found = _CLASS_LINE.match(line.strip())
        if found and found["name"].endswith(("Error", "Exception")):
            return found["name"]
    return None


def know_the_execution_of_a_task() -> None:
    """A service integration is not told which execution it works for, so it cannot be stopped."""
    from ministack.services import stepfunctions

    original = stepfunctions._execute_task

    def execute(state_def: dict, raw_input: Any, execution: dict, ctx: dict) -> Any:
        token = _CURRENT.set(execution)
        try:
            return original(state_def, raw_input, execution, ctx)
        finally:
            _CURRENT.reset(token)

    stepfunctions._execute_task = execute


def stay_aborted() -> None:
    """After StopExecution, retries and catches go on, and ABORTED may turn into FAILED."""
    from ministack.services import stepfunctions

    find_retrier = stepfunctions._find_matching_retrier
    find_catcher = stepfunctions._find_matching_catcher
    fail = stepfunctions._fail_execution

    def stopped() -> bool:
        execution = _CURRENT.get()
        return execution is not None and execution["status"] != "RUNNING"

    def retrier(retriers: list, error: str, counts: dict) -> Any:
        return (None, None) if stopped() else find_retrier(retriers, error, counts)

    def catcher(catchers: list, error: str) -> Any:
        return None if stopped() else find_catcher(catchers, error)

    def fail_unless_aborted(execution: dict, error: str, cause: str) -> None:
        if execution["status"] != "ABORTED":
            fail(execution, error, cause)

    stepfunctions._find_matching_retrier = retrier
    stepfunctions._find_matching_catcher = catcher
    stepfunctions._fail_execution = fail_unless_aborted


def start_the_same_execution_once() -> None:
    """StartExecution with the name and input of a running one fails; AWS returns its ARN."""
    from ministack.core.responses import json_response
    from ministack.services import stepfunctions

    original = stepfunctions._start_execution

    def start(data: dict) -> Any:
        machine = stepfunctions._resolve_state_machine_arn(data.get("stateMachineArn", ""))
        arn = f"{machine or ''}:{data.get('name')}".replace(":stateMachine:", ":execution:")
        running = stepfunctions._executions.get(arn)
        given = json.loads(data.get("input") or "{}")
        if running and running["status"] == "RUNNING" and json.loads(running["input"]) == given:
            return json_response({"executionArn": arn, "startDate": running["startDate"]})
        return original(data)

    stepfunctions._start_execution = start


def read_s3_objects_in_state_machines() -> None:
    """`aws-sdk:s3:getObject` is not there; on AWS it gives a text object's content as `Body`."""
    from ministack.services import s3, stepfunctions

    original = stepfunctions._invoke_aws_sdk_integration

    def invoke(resource: str, data: dict) -> Any:
        if not resource.endswith(":aws-sdk:s3:getObject"):
            return original(resource, data)
        found = s3._get_object_data(data["Bucket"], data["Key"])
        if found is None:
            key = f"s3://{data['Bucket']}/{data['Key']}"
            raise stepfunctions._ExecutionError("S3.NoSuchKeyException", f"no object {key}")
        return {"Body": bytes(found).decode("utf-8")}

    stepfunctions._invoke_aws_sdk_integration = invoke


def keep_environment_names_in_state_machines() -> None:
    """A function's variable NEXTBEST_RUN comes out of an aws-sdk task as Nextbest_run."""
    from ministack.services import stepfunctions

    original = stepfunctions._convert_keys_to_sfn_convention

    def convert(value: Any) -> Any:
        converted = original(value)
        if isinstance(value, dict) and isinstance(value.get("Environment"), dict):
            converted["Environment"] = value["Environment"]
        return converted

    stepfunctions._convert_keys_to_sfn_convention = convert


def tick_schedules_every_second() -> None:
    """Schedules are looked at every 10 s; a schedule of seconds in a test wants less."""
    from ministack.services import scheduler

    scheduler._SCHEDULE_TICK_INTERVAL = 1


CORRECTIONS = (
    answer_without_waiting_for_a_log_line,
    keep_the_exception_class_of_a_lambda,
    know_the_execution_of_a_task,
    stay_aborted,
    start_the_same_execution_once,
    read_s3_objects_in_state_machines,
    keep_environment_names_in_state_machines,
    tick_schedules_every_second,
)
