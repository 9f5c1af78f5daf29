"""SageMaker's hyperparameter tuning jobs on the local stage: children that really run.

Used by `pipelines.local.sagemaker`. Each child is a training job like any other, at most
`MaxParallelTrainingJobs` at a time; the best objective metric of those that completed wins.
"""

from __future__ import annotations

import hashlib
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from pipelines.local.registry import ServiceError
from pipelines.local.search import Values, draw

KIND = "HyperParameterTuningJob"
INTERRUPTED = "InternalServerError: the local stage was stopped while the tuning job ran"
NOTHING_SUCCEEDED = (
    "No training job succeeded after {} attempts. For additional details, please take a look at "
    "the training job failures by listing training jobs for the hyperparameter tuning job."
)
_DEFINITION = (
    "AlgorithmSpecification",
    "RoleArn",
    "InputDataConfig",
    "OutputDataConfig",
    "StoppingCondition",
    "EnableManagedSpotTraining",
    "CheckpointConfig",
    "Environment",
)


class Jobs(Protocol):
    """What a tuning job needs of the service that runs training jobs."""

    jobs: dict[str, dict[str, dict[str, Any]]]

    def create(self, kind: str, data: dict) -> dict: ...
    def wait(self, kind: str, name: str, *, gone: Callable[[], bool]) -> dict: ...
    def emit(self, label: str, arn: str, detail: dict) -> None: ...


class Tuning:
    """The tuning jobs and their actions; children live in `service`."""

    def __init__(self, service: Jobs, arn: Callable[[str], str]) -> None:
        self._service, self._arn = service, arn
        self.jobs: dict[str, dict[str, Any]] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._stopping: dict[str, threading.Event] = {}
        self._lock = threading.RLock()

    def actions(self) -> dict[str, Callable[[dict], dict]]:
        return {
            f"Create{KIND}": self.create,
            f"Describe{KIND}": self.describe,
            f"List{KIND}s": self.list,
            f"Stop{KIND}": self.stop,
            f"ListTrainingJobsFor{KIND}": self.list_children,
        }

    def create(self, data: dict) -> dict:
        """Start a tuning job; its children are drawn at once."""
        name, configuration = data[f"{KIND}Name"], data[f"{KIND}Config"]
        definition = data["TrainingJobDefinition"]
        points = draw(configuration)
        twice = set(definition.get("StaticHyperParameters", {})) & {k for p in points for k in p}
        if twice:
            message = f"hyperparameters both static and tuned: {', '.join(sorted(twice))}"
            raise ServiceError("ValidationException", message)
        with self._lock:
            if name in self.jobs:
                raise ServiceError("ResourceInUse", f"{KIND} names are used once; {name} exists")
            self.jobs[name] = self._new(name, data, points)
            self._stopping[name] = threading.Event()
            work = threading.Thread(target=self._work, args=(name, data), daemon=True)
            self._threads[name] = work
            work.start()
        return {f"{KIND}Arn": self._arn(name)}

    def _new(self, name: str, data: dict, points: list[Values]) -> dict[str, Any]:
        now = time.time()
        children = {_child_name(name, n): point for n, point in enumerate(points, start=1)}
        return {
            **{key: value for key, value in data.items() if key != "Tags"},
            f"{KIND}Arn": self._arn(name),
            f"{KIND}Status": "InProgress",
            "CreationTime": now,
            "LastModifiedTime": now,
            "children": children,
        }

    def _work(self, name: str, data: dict) -> None:
        job = self.jobs[name]
        todo = iter(job["children"].items())
        limits = data[f"{KIND}Config"]["ResourceLimits"]
        deadline = time.monotonic() + limits.get("MaxRuntimeInSeconds", math.inf)
        threads = [
            threading.Thread(target=self._run_some, args=(name, data, todo, deadline), daemon=True)
            for _ in range(limits["MaxParallelTrainingJobs"])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._finish(job, stopped=self._stopping[name].is_set())

    def _run_some(
        self, name: str, data: dict, todo: Iterator[tuple[str, Values]], deadline: float
    ) -> None:
        """One of the parallel lanes: a child after the other until none is left."""

        def gone() -> bool:
            return self._stopping[name].is_set() or time.monotonic() > deadline

        while not gone():
            with self._lock:
                child, values = next(todo, ("", {}))
            if not child:
                return
            self._service.create("TrainingJob", _child_request(child, data, values))
            self._service.jobs["TrainingJob"][child]["TuningJobArn"] = self._arn(name)
            self._service.wait("TrainingJob", child, gone=gone)

    def _finish(self, job: dict[str, Any], *, stopped: bool) -> None:
        found = bool(self._best(job))
        status = "Stopped" if stopped else "Completed" if found else "Failed"
        if status == "Failed":
            job["FailureReason"] = NOTHING_SUCCEEDED.format(len(self._children(job)))
        now = time.time()
        job |= {
            "LastModifiedTime": now,
            "HyperParameterTuningEndTime": now,
            f"{KIND}Status": status,
        }
        plain = {key: value for key, value in job.items() if not isinstance(value, dict | list)}
        self._service.emit("HyperParameter Tuning", job[f"{KIND}Arn"], plain)

    def describe(self, data: dict) -> dict:
        job = self._find(data[f"{KIND}Name"])
        best = self._best(job)
        return {
            **{key: value for key, value in job.items() if key != "children"},
            **self._counters(job),
            **({"BestTrainingJob": best} if best else {}),
        }

    def _find(self, name: str) -> dict[str, Any]:
        if name not in self.jobs:
            message = f"Could not find requested job with name: {name}"
            raise ServiceError("ResourceNotFound", message)
        return self.jobs[name]

    def _counters(self, job: dict[str, Any]) -> dict[str, dict[str, int]]:
        children = self._children(job)
        statuses = [child["TrainingJobStatus"] for child in children]
        objectives = [child["ObjectiveStatus"] for child in children]
        counted = {name: statuses.count(name) for name in ("Completed", "InProgress", "Stopped")}
        failed = {"RetryableError": 0, "NonRetryableError": statuses.count("Failed")}
        return {
            "TrainingJobStatusCounters": {**counted, **failed},
            "ObjectiveStatusCounters": {
                name: objectives.count(name) for name in ("Succeeded", "Pending", "Failed")
            },
        }

    def _children(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        known = self._service.jobs["TrainingJob"]
        objective = job[f"{KIND}Config"]["HyperParameterTuningJobObjective"]
        return [
            _summary(known[name], values, objective)
            for name, values in job["children"].items()
            if name in known
        ]

    def _best(self, job: dict[str, Any]) -> dict[str, Any] | None:
        """The child with the best objective among those that completed; the first of equals."""
        sign = 1 if _objective(job)["Type"] == "Maximize" else -1
        done = [child for child in self._children(job) if child["ObjectiveStatus"] == "Succeeded"]
        key = "FinalHyperParameterTuningJobObjectiveMetric"
        done.sort(key=lambda child: (-sign * child[key]["Value"], child["TrainingJobName"]))
        return done[0] if done else None

    def list(self, data: dict) -> dict:
        """Newest first, by `NameContains` and `StatusEquals`."""
        part, status = data.get("NameContains", ""), data.get("StatusEquals")
        found = [
            {
                f"{KIND}Name": name,
                f"{KIND}Arn": job[f"{KIND}Arn"],
                f"{KIND}Status": job[f"{KIND}Status"],
                "Strategy": job[f"{KIND}Config"]["Strategy"],
                "CreationTime": job["CreationTime"],
                "ResourceLimits": job[f"{KIND}Config"]["ResourceLimits"],
                **self._counters(job),
            }
            for name, job in list(self.jobs.items())
            if part in name and status in (None, job[f"{KIND}Status"])
        ]
        found.sort(key=lambda job: job["CreationTime"], reverse=True)
        return {f"{KIND}Summaries": found}

    def list_children(self, data: dict) -> dict:
        """Summaries of a tuning job's training jobs, in the order of their start."""
        return {"TrainingJobSummaries": self._children(self._find(data[f"{KIND}Name"]))}

    def stop(self, data: dict) -> dict:
        """Stop the children that run and start no more."""
        name = data[f"{KIND}Name"]
        job = self._find(name)
        if job[f"{KIND}Status"] == "InProgress":
            job[f"{KIND}Status"] = "Stopping"
            self._stopping[name].set()
        return {}

    def wait(self, name: str, *, gone: Callable[[], bool]) -> dict:
        """The job's description when it has ended; stopped first if `gone()` says so."""
        while self._threads[name].is_alive():
            if gone():
                self.stop({f"{KIND}Name": name})
            self._threads[name].join(timeout=0.05)
        return self.describe({f"{KIND}Name": name})

    def shut_down(self) -> None:
        """Start no more children; those that run are ended by the service."""
        for stopping in self._stopping.values():
            stopping.set()

    def restore(self, state: dict) -> None:
        """Jobs that ran when the state was saved have failed since."""
        self.jobs = state
        for job in self.jobs.values():
            if job[f"{KIND}Status"] in ("InProgress", "Stopping"):
                job |= {f"{KIND}Status": "Failed", "FailureReason": INTERRUPTED}


def _objective(job: dict[str, Any]) -> dict[str, str]:
    return dict(job[f"{KIND}Config"]["HyperParameterTuningJobObjective"])


def _child_name(name: str, number: int) -> str:
    digest = hashlib.sha256(f"{name} {number}".encode()).hexdigest()[:8]
    return f"{name}-{number:03d}-{digest}"


def _child_request(child: str, data: dict, values: Values) -> dict[str, Any]:
    definition = data["TrainingJobDefinition"]
    objective = data[f"{KIND}Config"]["HyperParameterTuningJobObjective"]["MetricName"]
    resources = definition.get("ResourceConfig") or definition["HyperParameterTuningResourceConfig"]
    return {
        **{key: definition[key] for key in _DEFINITION if key in definition},
        "ResourceConfig": resources,
        "TrainingJobName": child,
        "HyperParameters": {
            **definition.get("StaticHyperParameters", {}),
            **values,
            "_tuning_objective_metric": objective,
        },
        "Tags": data.get("Tags", []),
    }


def _summary(training: dict, values: Values, objective: dict) -> dict[str, Any]:
    """A child as tuning jobs show it, with its objective metric if it has one."""
    keys = ("TrainingJobName", "TrainingJobArn", "TrainingJobStatus", "CreationTime")
    maybe = ("TrainingStartTime", "TrainingEndTime", "FailureReason")
    summary = {key: training[key] for key in keys} | {"TunedHyperParameters": values}
    summary |= {key: training[key] for key in maybe if key in training}
    found = [
        m["Value"]
        for m in training.get("FinalMetricDataList", [])
        if m["MetricName"] == objective["MetricName"]
    ]
    if found:
        summary["FinalHyperParameterTuningJobObjectiveMetric"] = {**objective, "Value": found[-1]}
    running = training["TrainingJobStatus"] in ("InProgress", "Stopping")
    succeeded = bool(found) and training["TrainingJobStatus"] == "Completed"
    return summary | {
        "ObjectiveStatus": "Pending" if running else "Succeeded" if succeeded else "Failed"
    }
