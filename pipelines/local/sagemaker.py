"""SageMaker on the local stage: the API that nextbest uses, in ministack's own process.

Jobs really run (`pipelines.local.container`), one thread each; descriptions survive a restart. The
model registry is a table (`pipelines.local.registry`). Registered in ministack's module tables, so
that boto3, `.sync` tasks, `aws-sdk:sagemaker` tasks and CloudFormation all reach it.
"""

from __future__ import annotations

import functools
import json
import shutil
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3

from pipelines.local.container import Container, Outcome
from pipelines.local.joblog import JobLog
from pipelines.local.jobs import run_processing, run_training
from pipelines.local.registry import Registry, ServiceError
from pipelines.local.transfers import ClientFault
from pipelines.local.tuning import Tuning

ACCOUNT, REGION = "000000000000", "us-east-1"
INTERRUPTED = "InternalServerError: the local stage was stopped while the job ran"
_TYPES = {
    "TrainingJob": ("training-job", "/aws/sagemaker/TrainingJobs", run_training),
    "ProcessingJob": ("processing-job", "/aws/sagemaker/ProcessingJobs", run_processing),
}
_DEFAULT_RUNTIME_SECONDS = 86_400


class Service:
    """The service's state and actions."""

    def __init__(self, folder: Path, *, endpoint_url: str) -> None:
        self.folder = folder
        self.endpoint_url = endpoint_url
        self.jobs: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _TYPES}
        self.registry = Registry(ACCOUNT, REGION)
        self.tuning = Tuning(self, arn=_tuning_arn)
        self._running: dict[str, Container] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.RLock()

    def actions(self) -> dict[str, Callable[[dict], dict]]:
        """Action name → function of the request's JSON."""
        actions: dict[str, Callable[[dict], dict]] = {
            **self.registry.actions(),
            **self.tuning.actions(),
        }
        for kind in _TYPES:
            actions[f"Create{kind}"] = functools.partial(self.create, kind)
            actions[f"Describe{kind}"] = functools.partial(self.describe, kind)
            actions[f"List{kind}s"] = functools.partial(self.list, kind)
            actions[f"Stop{kind}"] = functools.partial(self.stop, kind)
        return actions

    def create(self, kind: str, data: dict) -> dict:
        """Start a job's thread; a name that was used before is `ResourceInUse`."""
        name, arn = data[f"{kind}Name"], self._arn(kind, data[f"{kind}Name"])
        with self._lock:
            if name in self.jobs[kind]:
                raise ServiceError("ResourceInUse", f"{kind} names are used once; {name} exists")
            self.jobs[kind][name] = self._new(kind, name, arn, data)
            self.registry.tags[arn] = list(data.get("Tags", []))
            thread = threading.Thread(target=self._work, args=(kind, name, data), daemon=True)
            self._threads[arn] = thread
            thread.start()
        return {f"{kind}Arn": arn}

    def _new(self, kind: str, name: str, arn: str, data: dict) -> dict:
        now = time.time()
        job = {k: v for k, v in data.items() if k != "Tags"}
        job |= {
            f"{kind}Name": name,
            f"{kind}Arn": arn,
            f"{kind}Status": "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        if kind == "TrainingJob":
            target = data["OutputDataConfig"]["S3OutputPath"].rstrip("/")
            job["ModelArtifacts"] = {"S3ModelArtifacts": f"{target}/{name}/output/model.tar.gz"}
            job["SecondaryStatus"] = "Starting"
            job["SecondaryStatusTransitions"] = [
                {"Status": "Starting", "StartTime": now, "StatusMessage": "Starting the job"}
            ]
            job["AlgorithmSpecification"].setdefault("TrainingInputMode", "File")
        return job

    def _work(self, kind: str, name: str, data: dict) -> None:
        _, group, run = _TYPES[kind]
        root = self.folder / name
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        log = JobLog(self._client("logs"), group, f"{name}/algo-1-{int(time.time())}")
        container = Container(
            root=root,
            s3=self._client("s3"),
            log=log.add,
            max_runtime_seconds=_runtime_limit(data),
            metric_definitions=data.get("AlgorithmSpecification", {}).get("MetricDefinitions", []),
        )
        job = self.jobs[kind][name]
        self._running[job[f"{kind}Arn"]] = container
        job["TrainingStartTime" if kind == "TrainingJob" else "ProcessingStartTime"] = time.time()
        self._turn(kind, job, "Training", "Training image is ready")
        outcome = self._outcome(run, container, data)
        log.close()
        self._finish(kind, job, outcome)
        self._running.pop(job[f"{kind}Arn"], None)
        shutil.rmtree(root, ignore_errors=True)

    def _outcome(self, run: Callable[..., Outcome], container: Container, data: dict) -> Outcome:
        try:
            return run(container, data)
        except ClientFault as fault:
            return Outcome("Failed", reason=f"ClientError: {fault}", secondary="Failed")
        except Exception as error:  # noqa: BLE001  (a job must end, whatever broke)
            container.log(traceback.format_exc())
            reason = f"InternalServerError: {type(error).__name__}: {error}"
            return Outcome("Failed", reason=reason, secondary="Failed")

    def _turn(self, kind: str, job: dict, status: str, message: str) -> None:
        now = time.time()
        job["LastModifiedTime"] = now
        if kind != "TrainingJob":
            return
        job["SecondaryStatusTransitions"][-1]["EndTime"] = now
        job["SecondaryStatusTransitions"].append(
            {"Status": status, "StartTime": now, "StatusMessage": message}
        )
        job["SecondaryStatus"] = status

    def _finish(self, kind: str, job: dict, outcome: Outcome) -> None:
        now = time.time()
        end = "TrainingEndTime" if kind == "TrainingJob" else "ProcessingEndTime"
        job[end] = now
        if outcome.reason:
            job["FailureReason"] = outcome.reason
        if kind == "ProcessingJob" and outcome.message:
            job["ExitMessage"] = outcome.message
        if kind == "TrainingJob":
            seconds = max(1, round(now - job["TrainingStartTime"]))
            job |= {"TrainingTimeInSeconds": seconds, "BillableTimeInSeconds": seconds}
            job["FinalMetricDataList"] = [
                {"MetricName": name, "Value": value, "Timestamp": now}
                for name, value in outcome.metrics.items()
            ]
        self._turn(kind, job, outcome.secondary, outcome.reason or outcome.secondary)
        job[f"{kind}Status"] = outcome.status
        self._emit(kind, job)

    def _emit(self, kind: str, job: dict) -> None:
        label = "Training" if kind == "TrainingJob" else "Processing"
        detail = {k: v for k, v in job.items() if not isinstance(v, dict | list)}
        self.emit(label, job[f"{kind}Arn"], detail)

    def emit(self, label: str, arn: str, detail: dict) -> None:
        """A job's status event on the default bus of EventBridge."""
        from ministack.services import eventbridge

        entry = {
            "Source": "aws.sagemaker",
            "DetailType": f"SageMaker {label} Job State Change",
            "Detail": json.dumps(detail),
            "Resources": [arn],
        }
        eventbridge._put_events({"Entries": [entry]}, allow_aws_source=True)

    def describe(self, kind: str, data: dict) -> dict:
        return dict(self._find(kind, data[f"{kind}Name"]))

    def _find(self, kind: str, name: str) -> dict:
        if name not in self.jobs[kind]:
            raise ServiceError(
                "ValidationException", f"Could not find requested job with name: {name}"
            )
        return self.jobs[kind][name]

    def list(self, kind: str, data: dict) -> dict:
        """Newest first; by `NameContains` and `StatusEquals`."""
        part, status = data.get("NameContains", ""), data.get("StatusEquals")
        keys = (f"{kind}Name", f"{kind}Arn", f"{kind}Status", "CreationTime", "LastModifiedTime")
        found = [
            {key: job[key] for key in keys}
            for name, job in list(self.jobs[kind].items())
            if part in name and status in (None, job[f"{kind}Status"])
        ]
        found.sort(key=lambda job: job["CreationTime"], reverse=True)
        start = int(data.get("NextToken") or 0)
        page = found[start : start + data.get("MaxResults", 100)]
        answer: dict[str, Any] = {f"{kind}Summaries": page}
        if start + len(page) < len(found):
            answer["NextToken"] = str(start + len(page))
        return answer

    def stop(self, kind: str, data: dict) -> dict:
        """SIGTERM, a grace, SIGKILL; a job that has ended cannot be stopped."""
        job = self._find(kind, data[f"{kind}Name"])
        if job[f"{kind}Status"] != "InProgress":
            raise ServiceError(
                "ValidationException",
                f"The request was rejected because the job is {job[f'{kind}Status']}",
            )
        job[f"{kind}Status"] = "Stopping"
        container = self._running.get(job[f"{kind}Arn"])
        if container is not None:
            container.stop_requested.set()
        return {}

    def wait(self, kind: str, name: str, *, gone: Callable[[], bool]) -> dict:
        """The job's description when it has ended; stopped first if `gone()` says so."""
        arn = self._arn(kind, name)
        while self._threads[arn].is_alive():
            if gone() and self.jobs[kind][name][f"{kind}Status"] == "InProgress":
                self.stop(kind, {f"{kind}Name": name})
            self._threads[arn].join(timeout=0.05)
        return self.describe(kind, {f"{kind}Name": name})

    def shut_down(self) -> None:
        """End every job: they end when the stage ends."""
        self.tuning.shut_down()
        for container in list(self._running.values()):
            if container.process is not None and container.process.poll() is None:
                container.process.kill()

    def state(self) -> dict:
        """What is saved; read by `restore`."""
        with self._lock:
            parts = {
                "jobs": self.jobs,
                "registry": self.registry.state(),
                "tuning": self.tuning.jobs,
            }
            return json.loads(json.dumps(parts))

    def restore(self, state: dict) -> None:
        """Jobs that ran when the state was saved have failed since."""
        self.jobs = {kind: state.get("jobs", {}).get(kind, {}) for kind in _TYPES}
        self.registry.restore(state.get("registry", {}))
        self.tuning.restore(state.get("tuning", {}))
        for kind, jobs in self.jobs.items():
            for job in jobs.values():
                if job[f"{kind}Status"] in ("InProgress", "Stopping"):
                    job |= {f"{kind}Status": "Failed", "FailureReason": INTERRUPTED}

    def reset(self) -> None:
        self.shut_down()
        self.jobs = {kind: {} for kind in _TYPES}
        self.registry.restore({})
        self.tuning.restore({})

    def _arn(self, kind: str, name: str) -> str:
        return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:{_TYPES[kind][0]}/{name}"

    def _client(self, service: str) -> Any:
        return boto3.client(service, endpoint_url=self.endpoint_url, region_name=REGION)


def _tuning_arn(name: str) -> str:
    return f"arn:aws:sagemaker:{REGION}:{ACCOUNT}:hyper-parameter-tuning-job/{name}"


def _runtime_limit(data: dict) -> float:
    limit = data.get("StoppingCondition", {}).get("MaxRuntimeInSeconds", _DEFAULT_RUNTIME_SECONDS)
    return float(limit)


def install(folder: Path, *, endpoint_url: str) -> Service:
    """Make SageMaker a service of the ministack in this process."""
    from pipelines.local import sagemaker_integration

    service = Service(folder, endpoint_url=endpoint_url)
    module = sagemaker_integration.as_module(service)
    sys.modules["ministack.services.sagemaker"] = module
    sagemaker_integration.register(service, module)
    return service
