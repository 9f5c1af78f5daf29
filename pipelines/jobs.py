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
    if job.type not in _LOG_GROUPS:
        return
    client = stage.client("logs")
    pages = client.get_paginator("filter_log_events").paginate(
        logGroupName=_LOG_GROUPS[job.type], logStreamNamePrefix=f"{job.name}/"
    )
    try:
        for event in (event for page in pages for event in page["events"]):
            at = datetime.fromtimestamp(event["timestamp"] / 1000).astimezone()
            yield at, event["message"].rstrip()
    except client.exceptions.ResourceNotFoundException:
        return


def last_log_line(stage: Stage, job: JobView) -> str | None:
    """The newest line a job has logged, without reading the rest."""
    client, group = stage.client("logs"), _LOG_GROUPS.get(job.type)
    if group is None:
        return None
    try:
        streams = client.describe_log_streams(
            logGroupName=group, logStreamNamePrefix=f"{job.name}/"
        )["logStreams"]
    except client.exceptions.ResourceNotFoundException:
        return None
    for stream in streams[-1:]:
        events = client.get_log_events(
            logGroupName=group, logStreamName=stream["logStreamName"], limit=1, startFromHead=False
        )["events"]
        return str(events[-1]["message"]).rstrip() if events else None
    return None
