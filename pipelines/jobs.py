"""The SageMaker jobs of a run: what they are doing, their logs and metrics. Used by `runs`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.exceptions import ClientError

from pipelines.stage import Stage

ENDED = ("Completed", "Failed", "Stopped")
_LOG_GROUPS = {
    "training": "/aws/sagemaker/TrainingJobs",
    "processing": "/aws/sagemaker/ProcessingJobs",
}


@dataclass(frozen=True)
class JobView:
    """One job. `reason` says why it failed; `metrics` are its last values by name."""

    name: str
    type: str
    status: str
    created_at: datetime
    ended_at: datetime | None
    reason: str | None
    metrics: dict[str, float]

    @property
    def has_ended(self) -> bool:
        return self.status in ENDED

    @property
    def seconds(self) -> float | None:
        """Wall seconds from creation to end; None while it runs."""
        return (self.ended_at - self.created_at).total_seconds() if self.ended_at else None

    def stop(self, stage: Stage) -> None:
        """Ask SageMaker to stop it; one that ends meanwhile is fine."""
        client = stage.client("sagemaker")
        try:
            if self.type == "training":
                client.stop_training_job(TrainingJobName=self.name)
            elif self.type == "tuning":
                client.stop_hyper_parameter_tuning_job(HyperParameterTuningJobName=self.name)
            else:
                client.stop_processing_job(ProcessingJobName=self.name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "ValidationException":
                raise


def find_jobs(stage: Stage, run: str) -> list[JobView]:
    """A run's jobs, oldest first: its own, and a tuning job with its children."""
    client = stage.client("sagemaker")
    views = [_training(client, name) for name in _training_names(client, run)]
    views += [_processing(client, name) for name in _processing_names(client, run)]
    for name in _tuning_names(client, run):
        views.append(_tuning(client, name))
        views += [_training(client, child) for child in _child_names(client, name)]
    return sorted(views, key=lambda view: (view.created_at, view.type != "tuning", view.name))


def _tuning_names(client: Any, run: str) -> Iterator[str]:
    """A tuning job has the run's name without its kind: it may have 32 characters."""
    part = "-".join(run.rsplit("-", 2)[1:])
    pages = client.get_paginator("list_hyper_parameter_tuning_jobs").paginate(NameContains=part)
    for page in pages:
        found = page["HyperParameterTuningJobSummaries"]
        yield from (job["HyperParameterTuningJobName"] for job in found)


def _child_names(client: Any, name: str) -> Iterator[str]:
    paginator = client.get_paginator("list_training_jobs_for_hyper_parameter_tuning_job")
    for page in paginator.paginate(HyperParameterTuningJobName=name):
        yield from (job["TrainingJobName"] for job in page["TrainingJobSummaries"])


def _tuning(client: Any, name: str) -> JobView:
    job = client.describe_hyper_parameter_tuning_job(HyperParameterTuningJobName=name)
    best = job.get("BestTrainingJob", {}).get("FinalHyperParameterTuningJobObjectiveMetric")
    return JobView(
        name=name,
        type="tuning",
        status=job["HyperParameterTuningJobStatus"],
        created_at=job["CreationTime"],
        ended_at=job.get("HyperParameterTuningEndTime"),
        reason=job.get("FailureReason"),
        metrics={best["MetricName"]: float(best["Value"])} if best else {},
    )


def _training_names(client: Any, run: str) -> Iterator[str]:
    for page in client.get_paginator("list_training_jobs").paginate(NameContains=run):
        yield from (job["TrainingJobName"] for job in page["TrainingJobSummaries"])


def _processing_names(client: Any, run: str) -> Iterator[str]:
    for page in client.get_paginator("list_processing_jobs").paginate(NameContains=run):
        yield from (job["ProcessingJobName"] for job in page["ProcessingJobSummaries"])


def _training(client: Any, name: str) -> JobView:
    job = client.describe_training_job(TrainingJobName=name)
    return JobView(
        name=name,
        type="training",
        status=job["TrainingJobStatus"],
        created_at=job["CreationTime"],
        ended_at=job.get("TrainingEndTime"),
        reason=job.get("FailureReason"),
        metrics={
            metric["MetricName"]: float(metric["Value"])
            for metric in job.get("FinalMetricDataList", [])
        },
    )


def _processing(client: Any, name: str) -> JobView:
    job = client.describe_processing_job(ProcessingJobName=name)
    return JobView(
        name=name,
        type="processing",
        status=job["ProcessingJobStatus"],
        created_at=job["CreationTime"],
        ended_at=job.get("ProcessingEndTime"),
        reason=job.get("ExitMessage") or job.get("FailureReason"),
        metrics={},
    )


def job_log(stage: Stage, job: JobView) -> Iterator[tuple[datetime, str]]:
    """A job's log so far, oldest first, as time and message. Empty before its first line."""
    client = stage.client("logs")
    for stream in _streams(client, job):
        token: dict[str, str] = {}
        while True:
            page = client.get_log_events(**stream, **token, startFromHead=True)
            yield from (_line(event) for event in page["events"])
            # The service gives the same token again where there is no more.
            if page["nextForwardToken"] == token.get("nextToken") or not page["events"]:
                break
            token = {"nextToken": page["nextForwardToken"]}


def last_log_line(stage: Stage, job: JobView) -> str | None:
    """The newest line a job has logged."""
    client = stage.client("logs")
    newest = [
        _line(event)
        for stream in _streams(client, job)
        for event in client.get_log_events(**stream, limit=1)["events"]
    ]
    return max(newest)[1] if newest else None


def _streams(client: Any, job: JobView) -> list[dict[str, str]]:
    """The log streams of a job, one a machine, as what names them to the service.

    Not `filter_log_events` with a prefix: the emulator gives every job's lines for it.
    """
    group = _LOG_GROUPS.get(job.type)
    if group is None:
        return []
    pages = client.get_paginator("describe_log_streams").paginate(
        logGroupName=group, logStreamNamePrefix=f"{job.name}/"
    )
    try:
        names = [stream["logStreamName"] for page in pages for stream in page["logStreams"]]
    except client.exceptions.ResourceNotFoundException:
        return []
    return [{"logGroupName": group, "logStreamName": name} for name in names]


def _line(event: dict[str, Any]) -> tuple[datetime, str]:
    at = datetime.fromtimestamp(event["timestamp"] / 1000).astimezone()
    return at, event["message"].rstrip()
