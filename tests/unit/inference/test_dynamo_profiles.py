"""Profiles in DynamoDB: conditional writes, races, size, forgetting, a table that fails."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError
from moto import mock_aws

from inference.dynamo_profiles import MAX_BYTES, DynamoProfiles, bounded
from inference.errors import BadRequestError
from inference.nudge import Nudge
from inference.nudge_contracts import NudgeResponse, decode_nudge_request
from inference.nudge_service import NudgeService
from inference.profiles import (
    Answered,
    Change,
    Contact,
    Profile,
    ProfileChangedError,
    ProfileStoreError,
    Stored,
)
from tests.unit.inference import small_policy

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
CAP_OF_ONE = {"caps": [{"scope": "global", "limit": 1, "period": "hour"}]}


@pytest.fixture
def client() -> Iterator[Any]:
    with mock_aws():
        found = boto3.client("dynamodb", region_name="eu-west-1")
        found.create_table(
            TableName="profiles",
            BillingMode="PAY_PER_REQUEST",
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        )
        yield found


def store(client: Any, tenant: str = "acme", *, now: float = NOW.timestamp()) -> DynamoProfiles:
    return DynamoProfiles("profiles", tenant, client=client, clock=lambda: now)


def service(profiles: Any) -> NudgeService:
    policy = small_policy.policy(guardrails=CAP_OF_ONE, exploration_floor=1.0)
    told: list[Any] = []
    nudge = Nudge(policy, tenant="acme")
    return NudgeService(nudge, run="run-1", version="7", profiles=profiles, log=told.append)


def ask(asked: NudgeService, number: int, **fields: Any) -> NudgeResponse:
    request = decode_nudge_request({"customer_id": "c-1", **fields})
    return asked.respond(request, now=NOW, decision_id=str(number))


def test_what_is_recorded_is_read_by_the_next_process(client: Any) -> None:
    first, second = store(client), store(client)
    first.record("c-1", first.read("c-1"), Change(NOW, Contact("mail", NOW)))
    found = second.read("c-1")
    assert (found.profile.contacts, found.revision) == ([Contact("mail", NOW)], 1)


def test_of_two_changes_to_one_revision_the_second_is_refused(client: Any) -> None:
    profiles = store(client)
    for count in (1, 2):
        seen = profiles.read("c-1")
        profiles.record("c-1", seen, Change(NOW, Contact("mail", NOW)))
        with pytest.raises(ProfileChangedError):
            profiles.record("c-1", seen, Change(NOW, Contact("push", NOW)))
        assert len(profiles.read("c-1").profile.contacts) == count


def test_another_tenants_customer_of_the_same_id_is_another(client: Any) -> None:
    store(client).record("c-1", Stored(), Change(NOW, Contact("mail", NOW)))
    assert store(client, "other").read("c-1") == Stored()


def test_many_are_read_as_each_is_alone(client: Any) -> None:
    profiles = store(client)
    names = [f"c-{number}" for number in range(230)]
    for name in names[::50]:
        profiles.record(name, Stored(), Change(NOW, Contact(name, NOW)))
    store(client, "other").record("c-1", Stored(), Change(NOW, Contact("mail", NOW)))
    found = profiles.read_many([*names, names[0]])
    assert found == {name: profiles.read(name) for name in names}
    assert [name for name, stored in found.items() if stored.revision] == names[::50]
    assert profiles.read_many([]) == {}


def test_who_was_left_out_of_an_answer_is_missing_and_not_unknown() -> None:
    class Busy:
        def batch_get_item(self, *, RequestItems: Any) -> dict[str, Any]:
            rest = RequestItems["profiles"]["Keys"][1:]
            return {"Responses": {}, "UnprocessedKeys": {"profiles": {"Keys": rest}}}

    assert store(Busy()).read_many(["c-1", "c-2", "c-3"]) == {"c-1": Stored()}


class Racing(DynamoProfiles):
    """Both decide on what they read before either writes."""

    def __init__(self, client: Any, barrier: Any) -> None:
        super().__init__("profiles", "acme", client=client, clock=NOW.timestamp)
        self._barrier = barrier
        self._first = True

    def record(self, customer_id: str, seen: Stored, change: Change) -> None:
        if self._first:
            self._first = False
            self._barrier.wait(timeout=10)
        super().record(customer_id, seen, change)


def test_two_simultaneous_nudges_cannot_both_pass_a_cap_of_one(client: Any) -> None:
    from threading import Barrier

    drawing = [n for n in range(60) if ask(service(store(client, f"t{n}")), n).action != "none"]
    barrier = Barrier(2)
    services = [service(Racing(client, barrier)) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, services, drawing[:2]))
    assert sorted(answer.action == "none" for answer in answers) == [False, True]
    assert len(store(client).read("c-1").profile.contacts) == 1


def test_a_key_gets_its_answer_from_any_process(client: Any) -> None:
    first = ask(service(store(client)), 1, decision_key="checkout")
    second = ask(service(store(client)), 2, decision_key="checkout")
    assert second == first
    contacts = store(client).read("c-1").profile.contacts
    assert len(contacts) == (first.action != "none")
    with pytest.raises(BadRequestError, match="another request"):
        ask(service(store(client)), 3, decision_key="checkout", context={"recency": 1})


def test_a_customer_is_forgotten_when_the_time_has_come(client: Any) -> None:
    store(client).record("c-1", Stored(), Change(NOW, Contact("mail", NOW)))
    later = store(client, now=NOW.timestamp() + 401 * 86_400)
    found = later.read("c-1")
    assert (found.profile, found.revision) == (Profile(), 1)
    later.record("c-1", found, Change(NOW + timedelta(days=401)))
    assert later.read("c-1").revision == 2


def test_a_profile_stays_under_its_bound() -> None:
    answer = Answered(NOW, "digest", json.dumps("x" * 4000).encode())
    many = [Contact("a" * 100, NOW + timedelta(seconds=n)) for n in range(1000)]
    full = Stored(Profile(contacts=many), 1, {f"d{n}": answer for n in range(20)})
    content = bounded(full)
    assert len(content) <= MAX_BYTES
    with pytest.raises(ProfileStoreError, match="at most"):
        bounded(Stored(Profile(attributes={"text": "x" * MAX_BYTES})))


class Failing:
    """A client whose every call fails."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def get_item(self, **_: Any) -> Any:
        raise self._error


def test_a_table_that_does_not_answer_degrades_the_decision(client: Any) -> None:
    silent = Failing(ReadTimeoutError(endpoint_url="https://dynamodb"))
    answer = ask(service(store(silent)), 1)
    assert answer.degraded
    with pytest.raises(ProfileStoreError, match="did not answer"):
        store(silent).read("c-1")
    missing = DynamoProfiles("no-such-table", "acme", client=client)
    with pytest.raises(ProfileStoreError, match="refused"):
        missing.read("c-1")


def test_an_item_that_is_no_profile_degrades_the_decision(client: Any) -> None:
    item = {
        "id": {"S": "acme#c-1"},
        "stored": {"B": b"garbage"},
        "revision": {"N": "3"},
        "expires_at": {"N": "9999999999"},
    }
    client.put_item(TableName="profiles", Item=item)
    assert ask(service(store(client)), 1).degraded
