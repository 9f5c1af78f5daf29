"""The list of who was erased, as an object: two erasures at once lose nothing; on moto's S3."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from moto import mock_aws

from inference.suppression import NOBODY, SuppressionError
from pipelines import suppressions
from pipelines.errors import ErasureError

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Bucket:
    """A stage of one bucket. `before_put` is called before each write, as others would write."""

    bucket = "shop"

    def __init__(self, before_put: Any = None) -> None:
        self._s3, self._before_put = boto3.client("s3", region_name="us-east-1"), before_put

    def client(self, service: str) -> Any:
        return self

    def get_object(self, **given: Any) -> Any:
        return self._s3.get_object(**given)

    def put_object(self, **given: Any) -> Any:
        if self._before_put:
            self._before_put()
        return self._s3.put_object(**given)


@pytest.fixture
def stage() -> Iterator[Any]:
    with mock_aws():
        boto3.client("s3", region_name="us-east-1").create_bucket(Bucket="shop")
        yield Bucket()


def test_nobody_is_on_a_list_that_is_not_there(stage):
    assert suppressions.read(stage, "acme") == NOBODY


def test_who_is_put_on_it_is_on_it_and_the_salt_stays(stage):
    first = suppressions.suppress(stage, "acme", {"ann": NOON})
    second = suppressions.suppress(stage, "acme", {"bo": NOON + timedelta(hours=1)})
    found = suppressions.read(stage, "acme")
    assert found == second
    assert first.salt == second.salt
    assert (found.erased_at("ann"), found.erased_at("bo")) == (NOON, NOON + timedelta(hours=1))
    assert found.erased_at("cy") is None


def test_tenants_have_their_own_salt(stage):
    salts = {suppressions.suppress(stage, t, {"ann": NOON}).salt for t in ("acme", "other")}
    assert len(salts) == 2


@pytest.mark.parametrize("known", [(), ("cy",)], ids=["first", "later"])
def test_two_erasures_at_once_lose_nothing(stage, known):
    if known:
        suppressions.suppress(stage, "acme", dict.fromkeys(known, NOON))
    others = iter(["bo"])
    rival = Bucket(lambda: [suppressions.suppress(stage, "acme", {name: NOON}) for name in others])
    suppressions.suppress(rival, "acme", {"ann": NOON})
    found = suppressions.read(stage, "acme")
    assert all(found.erased_at(name) == NOON for name in ("ann", "bo", *known))


def test_a_list_that_others_always_write_is_an_error_that_says_what_to_do(stage):
    count = iter(range(1000))
    rival = Bucket(lambda: suppressions.suppress(stage, "acme", {str(next(count)): NOON}))
    with pytest.raises(ErasureError, match="Run the command again"):
        suppressions.suppress(rival, "acme", {"ann": NOON})


def test_a_broken_list_is_no_empty_list(stage):
    stage.put_object(Bucket="shop", Key="tenants/acme/suppression.json", Body=b"{")
    with pytest.raises(SuppressionError):
        suppressions.read(stage, "acme")
