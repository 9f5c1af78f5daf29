"""A tenant whose live recommender is the small model of the unit tests, released as a run's is."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from inference import artifact
from inference.contracts import decode_request
from pipelines import releases, stacks
from pipelines.stage import Stage
from pipelines.workspace import Workspace
from tests.unit.inference import small_model

RUN = "recommender-20261124t001904-ab12c4"


def open_shop(stage: Stage, tenant: str, folder: Path) -> Workspace:
    """The tenant, made with its released model; `folder` is for its artefact."""
    stacks.add_tenant(stage, tenant, progress=lambda line: None)
    assert _release(stage, tenant, _upload(stage, tenant, folder)) == "released"
    return Workspace(stage, tenant)


def _golden() -> list[dict[str, Any]]:
    """A request with the model's answer, as an evaluation records them."""
    request = {"history": ["dates"], "limit": 3, "now": small_model.NOW.isoformat()}
    answer = small_model.recommender().recommend(decode_request(request), now=small_model.NOW)
    products = [{"product_id": p.product_id, "score": p.score} for p in answer.products]
    return [{"request": request, "response": {"products": products}}]


def _upload(stage: Stage, tenant: str, folder: Path) -> str:
    """The small model where a run leaves it; the folder of its artefacts."""
    artifact.pack(small_model.write(folder / "model"), folder / "model.tar.gz")
    prefix, s3 = stage.run_prefix(tenant, RUN), stage.client("s3")
    s3.upload_file(str(folder / "model.tar.gz"), stage.bucket, f"{prefix}/out/model.tar.gz")
    body = json.dumps(_golden()).encode()
    s3.put_object(Bucket=stage.bucket, Key=f"{prefix}/evaluation/golden.json", Body=body)
    return stage.uri(f"{prefix}/out")


def _release(stage: Stage, tenant: str, artifacts: str) -> str:
    """The outcome of the machine that releases."""
    given = {
        "tenant": tenant,
        "kind": "recommender",
        "run": RUN,
        "started_at": "2026-11-24T00:19:04Z",
        "function": releases.decision_function(stage, tenant, kind="recommender"),
        "artifacts": artifacts,
        "golden": stage.uri(f"{stage.run_prefix(tenant, RUN)}/evaluation/golden.json"),
        "mode": "live",
    }
    client, machine = stage.client("stepfunctions"), stage.machine_arn("release-model")
    arn = client.start_execution(stateMachineArn=machine, input=json.dumps(given))["executionArn"]
    while (found := client.describe_execution(executionArn=arn))["status"] == "RUNNING":
        time.sleep(0.2)
    return str(json.loads(found["output"])["outcome"])
