"""Events and decisions at once while the consumers are killed: is anything lost, or counted twice?

    python -m tests.benchmarks.events_under_load --events 100000 --decisions 10000 --kills 10

On the local stage of a temporary folder. Events of simulated customers go on the stream, a
hundredth of them twice, a hundredth malformed, a twentieth late; between them decisions are asked
for; a process of `record-events` or of `record-decisions` gets SIGKILL every so often. When the
last events are in the profiles, everything is held against what one thread works out of the same
events (`tests.benchmarks.event_load`):

- every customer's profile in the table, to the last field;
- the archive: a row for every event and no other, to the last column, whatever is there twice;
- the dead letters: every malformed record, and no good one;
- a row for every decision that was answered, with its slots.
"""

from __future__ import annotations

import argparse
import collections
import functools
import io
import itertools
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
from pyarrow import parquet

from inference.archive import folder_of
from inference.dynamo_profiles import DynamoProfiles
from inference.profiles import Stored
from pipelines import decisions, events
from pipelines.stage import Stage
from tests.benchmarks import event_load
from tests.benchmarks.event_load import Load
from tests.benchmarks.nudges_under_load import workers_of
from tests.benchmarks.under_load import measure
from tests.integration.small_shop import open_shop
from tests.unit.inference import small_model

CHUNK = 500
ASKING_AT_ONCE = 4
PATIENCE_SECONDS = 60.0
PATIENCE_SECONDS_A_RECORD = 0.2
CONSUMERS = ("record-events", "record-decisions")
_JSON_COLUMNS = ("granted", "attributes")
Answers = dict[str, dict[str, Any]]  # by decision id


@dataclass
class Counts:
    """What happened, and what is wrong: from `profiles_wrong` on they have to be 0."""

    records: int = 0
    sent_twice: int = 0
    malformed: int = 0
    out_of_order: int = 0
    decisions: int = 0
    degraded: int = 0
    kills: int = 0
    profiles: int = 0
    archived_events: int = 0
    archived_twice: int = 0
    dead_letters: int = 0
    profiles_wrong: int = 0
    events_lost: int = 0
    events_changed: int = 0
    events_made_up: int = 0
    malformed_lost: int = 0
    good_buried: int = 0
    decisions_lost: int = 0
    decisions_changed: int = 0

    @property
    def wrong(self) -> int:
        found = list(asdict(self).values())
        return sum(found[list(asdict(self)).index("profiles_wrong") :])


class Killer(threading.Thread):
    """Kills the oldest process of the consumers in turn, every so many seconds, `times` in all."""

    def __init__(self, server: int, stage: Stage, *, every: float, times: int) -> None:
        super().__init__(daemon=True)
        self._server, self._every, self._times = server, every, times
        self._functions = itertools.cycle(f"{stage.prefix}-{name}" for name in CONSUMERS)
        self._stopped = threading.Event()
        self.kills = 0

    def run(self) -> None:
        while self.kills < self._times and not self._stopped.wait(self._every):
            for worker in workers_of(self._server, next(self._functions))[:1]:
                self._kill(worker)

    def _kill(self, worker: psutil.Process) -> None:
        try:
            worker.kill()
            self.kills += 1
        except psutil.NoSuchProcess:
            return

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def send(stage: Stage, tenant: str, load: Load, *, count: int) -> Answers:
    """Put the records in chunks, and ask for a share of the decisions after each."""
    chunks = [load.records[n : n + CHUNK] for n in range(0, len(load.records), CHUNK)]
    bounds = [round(count * n / len(chunks)) for n in range(len(chunks) + 1)]
    ask = functools.partial(decisions.decide, stage, tenant, client=stage.client("lambda"))
    found: Answers = {}
    with ThreadPoolExecutor(ASKING_AT_ONCE) as pool:
        for chunk, first, end in zip(chunks, bounds, bounds[1:], strict=False):
            events.put_records(stage, chunk)
            requests = [{"customer_id": f"c-{n % 50}", "limit": 3} for n in range(first, end)]
            found |= {answer["decision_id"]: answer for answer in pool.map(ask, requests)}
    events.put_records(stage, load.last)
    return found


def wait_for_the_last(profiles: DynamoProfiles, *, patience: float) -> None:
    """Each shard is read in order: when the last events have landed, all have."""
    waiting = {f"last-{number}" for number in range(event_load.LAST)}
    until = time.monotonic() + patience
    while waiting:
        waiting = {name for name in waiting if not profiles.read(name).interactions}
        if time.monotonic() > until:
            raise SystemExit(f"{len(waiting)} of the last events did not land in {patience:.0f} s")
        time.sleep(1)


def archived(stage: Stage, tenant: str, table: str) -> Iterator[dict[str, Any]]:
    """The rows of a table, as often as they are there, without what is null."""
    s3 = stage.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(
        Bucket=stage.bucket, Prefix=f"{folder_of(tenant, table)}/"
    )
    for item in (item for page in pages for item in page.get("Contents", [])):
        body = s3.get_object(Bucket=stage.bucket, Key=item["Key"])["Body"].read()
        for row in parquet.read_table(io.BytesIO(body)).to_pylist():
            yield {name: value for name, value in row.items() if value is not None}


def wait_for_decisions(stage: Stage, tenant: str, answers: Answers) -> Answers:
    """Rows of these decisions by id, once all are there or nothing comes any more.

    What neither stream nor queue took waits for the function's next decision: one is asked for.
    """
    found: Answers = {}
    until = time.monotonic() + PATIENCE_SECONDS
    client = stage.client("lambda")
    while answers.keys() - found.keys() and time.monotonic() < until:
        rows = {row["decision_id"]: row for row in archived(stage, tenant, "decisions")}
        rows = {name: row for name, row in rows.items() if name in answers}
        if len(rows) > len(found):
            found, until = rows, time.monotonic() + PATIENCE_SECONDS
        else:
            decisions.decide(stage, tenant, {"limit": 1}, client=client)
        time.sleep(1)
    return found


def audit(stage: Stage, tenant: str, load: Load, answers: Answers) -> Counts:
    """Everything against the plain reckoning, in one thread."""
    counts = Counts(records=len(load.records) + len(load.last), malformed=len(load.bad))
    counts.sent_twice, counts.out_of_order = load.duplicates, load.displaced
    counts.decisions = len(answers)
    counts.degraded = sum(answer["degraded"] for answer in answers.values())
    audit_profiles(counts, stage, load)
    for (owner, table), expected in event_load.rows_of(load.good.values()).items():
        compare_rows(counts, archived(stage, owner, table), expected)
    buried = [record for letter in events.dead_letters(stage) for record in letter.records]
    compare_letters(counts, buried, load)
    compare_decisions(counts, wait_for_decisions(stage, tenant, answers), answers)
    return counts


def audit_profiles(counts: Counts, stage: Stage, load: Load) -> None:
    client = stage.client("dynamodb")
    for (tenant, customer), expected in event_load.profiles_of(load.good.values()).items():
        profiles = DynamoProfiles(stage.profiles_table, tenant, client=client)
        counts.profiles += 1
        counts.profiles_wrong += plain(profiles.read(customer)) != expected


def plain(stored: Stored) -> dict[str, Any]:
    """A profile of the table as `event_load.profiles_of` tells it."""
    known = stored.profile
    return {
        "interactions": [(s.at, s.event_id, s.product_id, s.event) for s in stored.interactions],
        "consents": known.consents,
        "attributes": known.attributes,
        "conversions": {found.action: found.at for found in known.conversions},
        "erased_at": stored.erased_at,
    }


def compare_rows(
    counts: Counts, rows: Iterator[dict[str, Any]], expected: dict[str, dict[str, Any]]
) -> None:
    """A table's rows against what its events say."""
    seen: collections.Counter[str] = collections.Counter()
    for row in rows:
        event_id = row["event_id"]
        seen[event_id] += 1
        if seen[event_id] == 1 and event_id in expected:
            counts.events_changed += _parsed(row) != expected[event_id]
    counts.archived_events += len(seen)
    counts.archived_twice += seen.total() - len(seen)
    counts.events_lost += len(expected.keys() - seen.keys())
    counts.events_made_up += len(seen.keys() - expected.keys())


def _parsed(row: dict[str, Any]) -> dict[str, Any]:
    told = {n: json.loads(v) if n in _JSON_COLUMNS else v for n, v in row.items()}
    return {name: value for name, value in told.items() if value != {}}


def compare_letters(counts: Counts, buried: list[bytes], load: Load) -> None:
    """A malformed record may be there more than once: whoever buried it may have been killed."""
    found = set(buried)
    counts.dead_letters = len(buried)
    counts.malformed_lost = len(load.bad - found)
    good = {*load.records, *load.last} - load.bad
    counts.good_buried = len(found & good)


def compare_decisions(counts: Counts, rows: Answers, answers: Answers) -> None:
    for decision_id, answer in answers.items():
        row = rows.get(decision_id)
        if row is None:
            counts.decisions_lost += 1
            continue
        shown = [(p["product_id"], p["score"], p["propensity"]) for p in answer["products"]]
        slots = [(s["product_id"], s["score"], s["propensity"]) for s in row["slots"]]
        counts.decisions_changed += slots != shown


def run(
    stage: Stage, server: int, *, tenant: str, count: int, asked: int, kills: int, every: float
) -> Counts:
    """Send, kill, wait, audit. `server` is the local stage's process; `every` is in seconds."""
    with tempfile.TemporaryDirectory(prefix="nextbest-load-") as folder:
        open_shop(stage, tenant, Path(folder))
    end = datetime.now(UTC) - timedelta(minutes=1)
    load = event_load.simulate(
        count, tenants=[tenant, f"{tenant}-too"], products=small_model.PRODUCTS, end=end, seed=0
    )
    killer = Killer(server, stage, every=every, times=kills)
    killer.start()
    answers = send(stage, tenant, load, count=asked)
    profiles = DynamoProfiles(stage.profiles_table, tenant, client=stage.client("dynamodb"))
    wait_for_the_last(profiles, patience=PATIENCE_SECONDS + PATIENCE_SECONDS_A_RECORD * count)
    killer.stop()
    counts = audit(stage, tenant, load, answers)
    counts.kills = killer.kills
    return counts


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--decisions", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--every", type=float, default=30.0, help="Seconds between kills.")
    parser.add_argument("--json", type=Path, help="Write the counts there.")
    given = parser.parse_args(arguments)
    sizes = {"count": given.events, "asked": given.decisions, "kills": given.kills}
    measure(
        "events-under-load",
        lambda stage, server: run(stage, server, tenant="load", every=given.every, **sizes),
        json=given.json,
    )


if __name__ == "__main__":
    main()
