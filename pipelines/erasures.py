"""Erasing customers from all that a tenant holds, and the requests for it that events made.

Used by `nextbest customers erase` and, to tell how many wait, by `nextbest data sync`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import datetime

from pyarrow import parquet as files

from inference.archive import folder_of
from pipelines.stage import Stage


def pending(stage: Stage, tenant: str) -> dict[str, datetime]:
    """Who asked by an event to be erased and is not yet, with the time up to which.

    An erasure that is carried out takes its request out of the archive.
    """
    found: dict[str, datetime] = {}
    for key in _keys(stage, f"{folder_of(tenant, 'erasures')}/"):
        body = stage.client("s3").get_object(Bucket=stage.bucket, Key=key)["Body"].read()
        rows = files.read_table(io.BytesIO(body), columns=["customer_id", "timestamp"])
        for row in rows.to_pylist():
            customer, at = row["customer_id"], row["timestamp"]
            found[customer] = max(found.get(customer, at), at)
    return found


def _keys(stage: Stage, prefix: str) -> Iterator[str]:
    pages = stage.client("s3").get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=stage.bucket, Prefix=prefix):
        yield from (item["Key"] for item in page.get("Contents", []))
