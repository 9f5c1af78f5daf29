"""Which data set is a tenant's newest: a small object that an import writes last and runs read."""

from __future__ import annotations

import json
from typing import Any

from botocore.exceptions import ClientError

from pipelines.stage import Stage


def newest_dataset(stage: Stage, tenant: str, *, kind: str) -> dict[str, Any] | None:
    """Its `dataset_id`, `prefix` and `imported_at`, for a kind of model; None before the first."""
    try:
        found = stage.client("s3").get_object(
            Bucket=stage.bucket, Key=stage.dataset_pointer(tenant, kind)
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in ("NoSuchKey", "NoSuchBucket", "404"):
            return None
        raise
    return dict(json.loads(found["Body"].read()))
