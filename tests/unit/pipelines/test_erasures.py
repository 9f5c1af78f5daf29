"""Erasures: what waits, what is rewritten, what stays; on moto's S3."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from inference.archive import Archive
from pipelines import erasures

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class MotoStage:
    """A stage whose clients are moto's."""

    bucket = "shop"

    def client(self, service: str) -> Any:
        return boto3.client(service, region_name="us-east-1")


@pytest.fixture
def stage() -> Iterator[Any]:
    with mock_aws():
        found = MotoStage()
        found.client("s3").create_bucket(Bucket="shop")
        yield found


def archive(stage: Any, table: str, *rows: dict[str, Any], tenant: str = "acme") -> None:
    Archive("shop", s3=stage.client("s3")).write(tenant, table, rows, source="test")


def erasure(customer: str, *, at: datetime = NOON) -> dict[str, Any]:
    return {"event_id": f"{customer}{at}", "timestamp": at, "customer_id": customer}


def test_requests_wait_with_their_last_time_and_by_tenant(stage):
    later = NOON + timedelta(days=2)
    archive(stage, "erasures", erasure("ann"), erasure("bo"), erasure("ann", at=later))
    archive(stage, "erasures", erasure("cy"), tenant="other")
    assert erasures.pending(stage, "acme") == {"ann": later, "bo": NOON}


def test_nothing_waits_where_there_is_no_archive(stage):
    assert erasures.pending(stage, "acme") == {}
