"""The few state shapes our machines use, on the stepfunctions SDK. Pure definitions, no client.

The SDK (2.3.0) does not know `ResultSelector`, `ErrorPath` and `CausePath`: the subclasses here
add them to the fields it renders. Every builder makes fresh states: they are mutable.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from stepfunctions.steps import Catch, Choice, Fail, Graph, Pass, Retry, Task, Wait
from stepfunctions.steps.choice_rule import ChoiceRule

# Errors of AWS's own making, on which trying the same call again helps.
SERVICE_ERRORS = [
    "Lambda.ServiceException",
    "Lambda.TooManyRequestsException",
    "SageMaker.AmazonSageMakerException",
    "SageMaker.ResourceLimitExceededException",
    "SageMaker.ThrottlingException",
    "S3.SdkClientException",
    "States.Http.Socket",
    "ThrottlingException",
]


class _Fields(Enum):
    ResultSelector = "result_selector"
    ErrorPath = "error_path"
    CausePath = "cause_path"


class SelectingTask(Task):
    """A Task with `result_selector`."""

    def allowed_fields(self) -> list[Any]:
        return [*super().allowed_fields(), _Fields.ResultSelector]


class FailWith(Fail):
    """A Fail whose error and cause come from the state's input."""

    def allowed_fields(self) -> list[Any]:
        return [*super().allowed_fields(), _Fields.ErrorPath, _Fields.CausePath]


def task(
    name: str,
    resource: str,
    parameters: dict[str, Any],
    *,
    result_path: str | None,
    timeout_seconds: int = 60,
    result_selector: dict[str, Any] | None = None,
    retry_also: tuple[str, ...] = (),
) -> Task:
    """A Task with a timeout and retries on the services' own errors; catches are added later."""
    given: dict[str, Any] = {
        "resource": f"arn:aws:states:::{resource}",
        "parameters": parameters,
        "result_path": result_path,
        "timeout_seconds": timeout_seconds,
    }
    if result_selector is not None:
        given["result_selector"] = result_selector
    state = SelectingTask(name, **given)
    state.add_retry(
        Retry(
            error_equals=[*SERVICE_ERRORS, *retry_also],
            interval_seconds=2,
            max_attempts=4,
            backoff_rate=2.0,
        )
    )
    return state


def catch(state: Task, errors: list[str], then: Any, *, result_path: str = "$.error") -> None:
    """On one of `errors`, keep Error and Cause under `result_path` and go on with `then`."""
    state.add_catch(Catch(error_equals=errors, next_step=then, result_path=result_path))


def fail_with_error(name: str) -> FailWith:
    """End as FAILED with what a catch kept under `$.error`."""
    return FailWith(name, error_path="$.error.Error", cause_path="$.error.Cause")


def choice(name: str, rules: list[tuple[Any, Any]], *, default: Any) -> Choice:
    """A Choice: the first rule that holds, else `default`."""
    state = Choice(name)
    for rule, target in rules:
        state.add_choice(rule=rule, next_step=target)
    state.default_choice(default)
    return state


def all_of(*rules: Any) -> Any:
    return ChoiceRule.And(list(rules))


def any_of(*rules: Any) -> Any:
    return ChoiceRule.Or(list(rules))


def matches(variable: str, pattern: str) -> Any:
    return ChoiceRule.StringMatches(variable=variable, value=pattern)


def equals(variable: str, value: str) -> Any:
    return ChoiceRule.StringEquals(variable=variable, value=value)


def is_present(variable: str) -> Any:
    return ChoiceRule.IsPresent(variable=variable, value=True)


def wait(name: str, seconds: int) -> Wait:
    return Wait(name, seconds=seconds)


def put(name: str, parameters: dict[str, Any], *, result_path: str | None) -> Pass:
    """A Pass that writes `parameters` to `result_path`."""
    return Pass(name, parameters=parameters, result_path=result_path)


def render(first: Any, *, comment: str, timeout_seconds: int) -> dict[str, Any]:
    """The whole definition that begins with `first`."""
    return dict(Graph(first, comment=comment, timeout_seconds=timeout_seconds).to_dict())
