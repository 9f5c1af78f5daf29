"""Simulated customers' events as records of the stream, good and bad, in the order they are sent;
and what they have to come to, worked out plainly, one event after the other."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from inference.customer_events import MAX_INTERACTIONS
from inference.event_rows import TABLE_OF

Event = dict[str, Any]
Customer = tuple[str, str]  # tenant, customer id
DAYS = 3
DUPLICATED, MALFORMED, DISPLACED = 0.01, 0.01, 0.05
FARTHEST = 2_000
LAST = 64  # events at the very end, one of them surely on every shard
KINDS = ("interaction", "consent", "customer", "reward", "product", "erasure")
SHARES = (0.82, 0.05, 0.05, 0.04, 0.035, 0.005)


@dataclass(frozen=True)
class Load:
    """`records` are sent in that order, then `last`. `good` are the events by id, `bad` the records
    that are none."""

    records: list[bytes]
    last: list[bytes]
    good: dict[str, Event]
    bad: set[bytes]
    duplicates: int
    displaced: int


def simulate(
    count: int, *, tenants: list[str], products: list[str], end: datetime, seed: int
) -> Load:
    """`count` records: a hundredth are sent twice, a hundredth are malformed, a twentieth comes up
    to `FARTHEST` places late. Nine in ten are of the first tenant."""
    rng = np.random.default_rng(seed)
    duplicates, malformed = round(count * DUPLICATED), round(count * MALFORMED)
    maker = _Maker(rng, tenants, products, customers=max(10, count // 40))
    times = [end - timedelta(days=DAYS) * (1 - n / count) for n in range(count)]
    events = [maker.event(n, at=times[n]) for n in range(count - duplicates - malformed)]
    good = [_record(event) for event in events]
    bad = [_malformed(n, events[int(rng.integers(len(events)))]) for n in range(malformed)]
    again = [good[n] for n in rng.choice(len(good), size=duplicates, replace=False)]
    late = rng.random(len(good)) < DISPLACED
    places = np.arange(len(good)) + late * rng.integers(1, FARTHEST, size=len(good))
    anywhere = rng.uniform(0, len(good), size=malformed + duplicates)
    every = [*good, *bad, *again]
    order = np.argsort(np.concatenate([places, anywhere]), kind="stable")
    last = [maker.last(n, at=end) for n in range(LAST)]
    return Load(
        records=[every[n] for n in order],
        last=[_record(event) for event in last],
        good={event["event_id"]: event for event in [*events, *last]},
        bad=set(bad),
        duplicates=duplicates,
        displaced=int(late.sum()),
    )


class _Maker:
    """Draws events; few customers do much."""

    def __init__(
        self, rng: np.random.Generator, tenants: list[str], products: list[str], *, customers: int
    ) -> None:
        self._rng, self._tenants, self._products = rng, tenants, products
        self._customers = customers

    def event(self, number: int, *, at: datetime) -> Event:
        rng = self._rng
        kind = str(rng.choice(KINDS, p=SHARES))
        tenant = self._tenants[int(rng.random() < 0.1) % len(self._tenants)]
        customer = f"c-{int(self._customers * rng.random() ** 2)}"
        return {**_head(number, kind, tenant, at=at), **self._of(kind, customer)}

    def _of(self, kind: str, customer: str) -> Event:
        rng, someone = self._rng, {"customer_id": customer}
        product = self._products[int(rng.integers(len(self._products)))]
        match kind:
            case "interaction":
                event = str(rng.choice(["view", "cart", "purchase"]))
                return {**someone, "product_id": product, "event": event}
            case "consent":
                by_purpose = {"offers": bool(rng.random() < 0.5), "news": True}
                granted = by_purpose if rng.random() < 0.5 else bool(rng.random() < 0.5)
                channel = str(rng.choice(["email", "push"]))
                return {**someone, "channel": channel, "granted": granted}
            case "customer":
                name = str(rng.choice(["age", "city", "plan"]))
                return {**someone, "attributes": {name: int(rng.integers(100))}}
            case "reward":
                action = str(rng.choice(["email", "push"]))
                return {**someone, "action": action, "reward": float(rng.random() < 0.5)}
            case "product":
                return {"product_id": product, "price": round(float(rng.uniform(1, 9)), 2)}
        return someone

    def last(self, number: int, *, at: datetime) -> Event:
        head = _head(-1 - number, "interaction", self._tenants[0], at=at)
        seen = {"product_id": self._products[0], "event": "view"}
        return {**head, "customer_id": f"last-{number}", **seen}


def _head(number: int, kind: str, tenant: str, *, at: datetime) -> Event:
    head = {"schema_version": 1, "type": kind, "event_id": f"event-{number}", "tenant": tenant}
    return {**head, "timestamp": at.isoformat()}


def _record(event: Event) -> bytes:
    return json.dumps(event).encode()


def _malformed(number: int, event: Event) -> bytes:
    """No event, each in its own way and unlike every other."""
    own = {**event, "event_id": f"malformed-{number}"}
    match number % 5:
        case 0:
            return _record(own)[:-1]
        case 1:
            return _record({**own, "colour": "red"})
        case 2:
            return _record({**own, "type": "wish"})
        case 3:
            return _record({**own, "timestamp": own["timestamp"][:19]})
    return b"\xff" + _record(own)


def profiles_of(events: Iterable[Event]) -> dict[Customer, dict[str, Any]]:
    """What is known of each customer after all events: those after the last erasure, oldest first,
    each overwriting what it says."""
    found: dict[Customer, list[Event]] = collections.defaultdict(list)
    for event in events:
        if "customer_id" in event:
            found[event["tenant"], event["customer_id"]].append(event)
    return {customer: _profile(theirs) for customer, theirs in found.items()}


def _profile(events: list[Event]) -> dict[str, Any]:
    times = {event["event_id"]: datetime.fromisoformat(event["timestamp"]) for event in events}
    erasures = [times[event["event_id"]] for event in events if event["type"] == "erasure"]
    erased_at = max(erasures, default=None)
    known: dict[str, Any] = {"interactions": [], "consents": {}, "attributes": {}}
    known |= {"conversions": {}, "erased_at": erased_at}
    for event in sorted(events, key=lambda event: (times[event["event_id"]], event["event_id"])):
        at = times[event["event_id"]]
        if erased_at is None or at > erased_at:
            _learn(known, event, at=at)
    known["interactions"] = known["interactions"][-MAX_INTERACTIONS:]
    return known


def _learn(known: dict[str, Any], event: Event, *, at: datetime) -> None:
    match event["type"]:
        case "interaction":
            seen = (at, event["event_id"], event["product_id"], event["event"])
            known["interactions"].append(seen)
        case "consent":
            known["consents"][event["channel"]] = event["granted"]
        case "customer":
            known["attributes"].update(event["attributes"])
        case "reward" if event["reward"] > 0:
            known["conversions"][event["action"]] = at


def rows_of(events: Iterable[Event]) -> dict[Customer, dict[str, Event]]:
    """The archive's rows by tenant and table, then by event id; what is JSON there, parsed."""
    found: dict[Customer, dict[str, Event]] = collections.defaultdict(dict)
    for event in events:
        told = {n: v for n, v in event.items() if n not in ("schema_version", "type", "tenant")}
        told["timestamp"] = datetime.fromisoformat(event["timestamp"])
        found[event["tenant"], TABLE_OF[event["type"]]][event["event_id"]] = told
    return found
