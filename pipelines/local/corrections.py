"""Where ministack 1.5.33 differs from AWS in something nextbest relies on.

One function a difference, with the symptom; `install` applies them all in the server's process.
tests/integration/test_corrections.py shows each difference, and tells when one is needed no more.
"""

from __future__ import annotations

import contextvars
import json
import queue
import random
import re
from collections.abc import Iterator
from typing import Any

from pipelines.local.event_sources import retry_and_split_batches_of_kinesis

_CURRENT: contextvars.ContextVar[dict | None] = contextvars.ContextVar("execution", default=None)
_END_OF_LOG = "\x1eend of call"
_LOG_SECONDS = 0.25  # as long as ministack waits for a log at most
_CLASS_LINE = re.compile(r"^(?:[\w]+\.)*(?P<name>[A-Z]\w*)(?:: |$)")


def install(*, without: frozenset[str] = frozenset()) -> None:
    """Apply every correction but those named in `without` (for the tests that show them)."""
    for correction in CORRECTIONS:
        if correction.__name__ not in without:
            correction()


def current_execution() -> dict | None:
    """The execution whose task is being carried out on this thread."""
    return _CURRENT.get()


def end_a_lambdas_log_with_its_answer() -> None:
    """A Lambda that prints nothing waits 50 ms a call for a first line; AWS does not wait.

    Its worker marks the end of a call in the log, before the answer; reading goes on to the mark.
    So nothing is waited for, and no line is left to the next call.
    """
    from ministack.core import lambda_runtime

    script = lambda_runtime._PYTHON_WORKER_SCRIPT
    answer = '_real_stdout.write(json.dumps({"status": "%s", "%s"'
    for status in (answer % ("ok", "result"), answer % ("error", "error") + ': str(e), "trace"'):
        if script.count(status) != 1:
            raise RuntimeError(f"ministack's Lambda worker has changed: no {status!r} in it")
        script = script.replace(status, f"print({_END_OF_LOG!r}, file=sys.stderr); {status}")
    lambda_runtime._PYTHON_WORKER_SCRIPT = script
    original = lambda_runtime.Worker._drain_stderr_bounded

    def drain(self: Any, *_: Any, **__: Any) -> str:
        if not str(self.config.get("Runtime", "python")).startswith("python"):
            return str(original(self))
        return "\n".join(_lines_to_the_mark(self._stderr_queue))

    lambda_runtime.Worker._drain_stderr_bounded = drain


def _lines_to_the_mark(lines: queue.Queue[str]) -> Iterator[str]:
    """A call's lines; those of a worker that died have no mark and end after a while."""
    while True:
        try:
            line = lines.get(timeout=_LOG_SECONDS)
        except queue.Empty:
            return
        if line == _END_OF_LOG:
            return
        yield line


def split_an_alias_between_two_versions() -> None:
    """An alias's `RoutingConfig` is stored and not honoured: all calls go to one version.

    The invoked ARN then names the version drawn, not the alias.
    """
    from ministack.services import lambda_svc

    invoke, find = lambda_svc._invoke, lambda_svc._get_func_record_for_ref

    async def invoke_drawn(
        name: str,
        event: Any,
        headers: dict,
        path_qualifier: str | None = None,
        query_params: dict | None = None,
    ) -> Any:
        asked = path_qualifier or lambda_svc._qp_first(query_params or {}, "Qualifier")
        qualifier = _drawn_version(lambda_svc._functions.get(name), asked) or path_qualifier
        return await invoke(name, event, headers, qualifier, query_params)

    def find_drawn(reference: str) -> Any:
        name, qualifier = lambda_svc._resolve_name_and_qualifier(reference)
        drawn = _drawn_version(lambda_svc._functions.get(name), qualifier)
        return find(f"{reference.removesuffix(f':{qualifier}')}:{drawn}" if drawn else reference)

    lambda_svc._invoke, lambda_svc._get_func_record_for_ref = invoke_drawn, find_drawn


def _drawn_version(function: dict | None, qualifier: str | None) -> str | None:
    """The additional version of an alias, with the probability of its weight; else None."""
    alias = (function or {}).get("aliases", {}).get(qualifier) or {}
    weights = alias.get("RoutingConfig", {}).get("AdditionalVersionWeights", {})
    return next((v for v, weight in weights.items() if random.random() < weight), None)


def remember_when_schedules_fired() -> None:
    """After a restart `rate()` fires at once and a past `at()` again; a changed `at()` never does.

    When a schedule last fired is saved with it, and counted anew when it is made or changed.
    """
    from ministack.services import scheduler

    get_state, restore = scheduler.get_state, scheduler.load_persisted_state
    create, update = scheduler._create_schedule, scheduler._update_schedule

    def get_state_and_times() -> dict:
        fired = [[list(key), at] for key, at in list(scheduler._schedule_last_fired.items())]
        return {**get_state(), "last_fired": fired}

    def restore_with_times(state: dict) -> None:
        restore(state)
        fired = {tuple(key): at for key, at in state.get("last_fired", [])}
        scheduler._schedule_last_fired.update(fired)

    def anew(change: Any) -> Any:
        def changed(name: str, body: dict) -> Any:
            answer = change(name, body)
            if answer[0] == 200:
                _count_anew(scheduler, f"{body.get('GroupName', 'default')}/{name}")
            return answer

        return changed

    scheduler.get_state, scheduler.load_persisted_state = get_state_and_times, restore_with_times
    scheduler._create_schedule, scheduler._update_schedule = anew(create), anew(update)


def _count_anew(scheduler: Any, key: str) -> None:
    place = (scheduler.get_account_id(), scheduler.get_region(), key)
    scheduler._schedule_last_fired.pop(place, None)
    if scheduler._at_time_epoch(scheduler._schedules[key]["ScheduleExpression"]) is None:
        scheduler._schedule_last_fired[place] = scheduler._now()


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


def compare_with_the_value_at_a_path() -> None:
    """A Choice by `StringGreaterThanPath` and its like never holds: an older run went live last."""
    from ministack.services import stepfunctions

    original = stepfunctions._evaluate_rule
    kinds = ("LessThan", "GreaterThan", "LessThanEquals", "GreaterThanEquals")
    names = [f"String{kind}" for kind in kinds]
    names += [f"Timestamp{kind}" for kind in ("Equals", *kinds)]

    def evaluate(rule: dict, data: Any, context: dict | None = None) -> bool:
        name = next((name for name in names if f"{name}Path" in rule), None)
        if name is None:
            return bool(original(rule, data, context))
        other = stepfunctions._resolve_path_or_ctx(rule[f"{name}Path"], data, context)
        literal = {"Variable": rule["Variable"], name: other}
        return isinstance(other, str) and bool(original(literal, data, context))

    stepfunctions._evaluate_rule = evaluate


def tick_schedules_every_second() -> None:
    """Schedules are looked at every 10 s; a schedule of seconds in a test wants less."""
    from ministack.services import scheduler

    scheduler._SCHEDULE_TICK_INTERVAL = 1


CORRECTIONS = (
    end_a_lambdas_log_with_its_answer,
    split_an_alias_between_two_versions,
    remember_when_schedules_fired,
    keep_the_exception_class_of_a_lambda,
    know_the_execution_of_a_task,
    stay_aborted,
    start_the_same_execution_once,
    read_s3_objects_in_state_machines,
    keep_environment_names_in_state_machines,
    compare_with_the_value_at_a_path,
    tick_schedules_every_second,
    retry_and_split_batches_of_kinesis,
)
