"""`nextbest data sync`: what has come into a tenant's archive, into data sets.

The same plan, step and commit as in a scheduled run (`retrain`), with this machine for the job's.
Used by the command line and the demo.
"""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from inference.sync_commit import commit_sync
from inference.sync_layout import OBJECTS
from inference.sync_metrics import dimensions, metrics_of
from inference.sync_plan import Planned, SyncPlan, objects_file, plan_file, plan_sync
from inference.telemetry import NAMESPACE
from pipelines import suppressions
from pipelines.erased_objects import erase_late
from pipelines.schedules import list_schedules, run_schedule
from pipelines.stage import NUDGE_POLICY, RECOMMENDER, Stage, check_tenant
from pipelines.workspace import Workspace
from training.configuration import parse, to_strings
from training.sync.configuration import SyncRules
from training.sync.step import sync

_AT_ONCE = 16
_LEARNS = {"interactions": RECOMMENDER, "nudges": NUDGE_POLICY}
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Synced:
    """`account` is None where there was nothing to do. `stored` says whether it is kept."""

    plan: SyncPlan
    account: dict[str, Any] | None
    stored: bool

    @property
    def drift(self) -> float:
        """The largest drift of what is new; 0 where nothing is."""
        return float(self.account["drift"]["largest"]) if self.account else 0.0


def rules_of(events: Mapping[str, Any]) -> SyncRules:
    """The rules of the section `[events]`. Raises `ConfigurationError`."""
    return parse(SyncRules, events, where="[events]")


def _silent(what: str, share: float) -> None:
    """Nobody wants to know."""


def sync_tenant(
    stage: Stage,
    tenant: str,
    *,
    rules: SyncRules,
    now: datetime | None = None,
    dry_run: bool = False,
    progress: Progress = _silent,
) -> Synced:
    """Make new data sets of the imports and the archive, if anything is due.

    With `dry_run` nothing is stored. Raises `SyncChangedError` where somebody imported, synced or
    erased meanwhile.
    """
    s3, now = stage.client("s3"), now or datetime.now(UTC)
    known = suppressions.read(stage, tenant)
    progress("looking for new objects", 0.0)
    planned = plan_sync(
        s3,
        stage.bucket,
        check_tenant(tenant),
        now=now,
        unique=secrets.token_hex(4),
        rules=to_strings(rules),
    )
    if not planned.plan.due:
        return Synced(planned.plan, None, stored=False)
    with tempfile.TemporaryDirectory(prefix="nextbest-sync-") as name:
        account = _work(s3, planned, Path(name), rules=rules, progress=progress)
        if not dry_run:
            progress("storing", 0.8)
            try:
                _store(s3, planned, Path(name))
            finally:  # also where a commit is refused: what was uploaded may hold who was erased
                erase_late(stage, tenant, known)
            _put_metrics(stage, tenant, account, now=now)
    progress("done", 1.0)
    return Synced(planned.plan, account, stored=not dry_run)


def _work(
    s3: Any, planned: Planned, folder: Path, *, rules: SyncRules, progress: Progress
) -> dict[str, Any]:
    """The step, on a copy of what it reads."""
    plan, inputs = planned.plan, folder / "in"
    for channel in plan.inputs:
        (inputs / channel).mkdir(parents=True)
    (inputs / "plan" / "plan.json").write_bytes(plan_file(plan))
    progress(f"fetching {len(planned.new):,} objects", 0.05)
    _fetch(s3, plan.bucket, {key: inputs / "archive" / key for key in planned.new})
    for channel in ("last", "interactions", "nudges", "suppression"):
        _fetch(s3, plan.bucket, _below(s3, plan.inputs[channel], inputs / channel))
    progress("joining", 0.4)
    return sync(lambda channel: inputs / channel, _outputs(folder / "out"), rules=rules)


def _outputs(folder: Path) -> Callable[[str], Path]:
    def output(name: str) -> Path:
        (folder / name).mkdir(parents=True, exist_ok=True)
        return folder / name

    return output


def _store(s3: Any, planned: Planned, folder: Path) -> None:
    """Upload what was made, then the pointers to it. What a killed process leaves is nobody's."""
    plan = planned.plan
    (folder / "out" / "sync" / OBJECTS).write_bytes(objects_file(planned))
    files = [
        (path, f"{urlparse(uri).path.lstrip('/')}/{path.relative_to(folder / 'out' / name)}")
        for name, uri in plan.outputs.items()
        for path in sorted((folder / "out" / name).rglob("*"))
        if path.is_file()
    ]
    _in_parallel(lambda one: s3.upload_file(str(one[0]), plan.bucket, one[1]), files)
    commit_sync(s3, plan)


def _below(s3: Any, uri: str, folder: Path) -> dict[str, Path]:
    """The objects under a URI, and where they go: that one object, or a prefix with a slash."""
    parsed = urlparse(uri)
    prefix = parsed.path.lstrip("/")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=parsed.netloc, Prefix=prefix)
    keys = [item["Key"] for page in pages for item in page.get("Contents", [])]
    start = len(prefix) if prefix.endswith("/") else prefix.rfind("/") + 1
    return {key: folder / key[start:] for key in keys}


def _fetch(s3: Any, bucket: str, files: Mapping[str, Path]) -> None:
    for path in files.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    _in_parallel(lambda one: s3.download_file(bucket, one[0], str(one[1])), files.items())


def _in_parallel(work: Callable[[Any], None], items: Iterable[Any]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(work, items))


def _put_metrics(stage: Stage, tenant: str, account: Mapping[str, Any], *, now: datetime) -> None:
    names = dimensions(stage=stage.name, tenant=tenant)
    told = [{"Name": name, "Value": value} for name, value in names.items()]
    stage.client("cloudwatch").put_metric_data(
        Namespace=NAMESPACE,
        MetricData=[
            {"MetricName": name, "Dimensions": told, "Timestamp": now, "Value": value}
            for name, value in metrics_of(account).items()
        ],
    )


def retrain(stage: Stage, tenant: str, synced: Synced) -> list[str]:
    """Start a run of every kind that learns from what was made, as its schedule would or, without
    one, by the project's configuration; their names."""
    account = synced.account or {}
    made = [kind for data, kind in _LEARNS.items() if account and account[data]["made"]]
    scheduled = {view.kind for view in list_schedules(stage, tenant=tenant)}
    return [
        run_schedule(stage, tenant, kind=kind)
        if kind in scheduled
        else Workspace(stage, tenant).train(kind).name
        for kind in made
    ]
