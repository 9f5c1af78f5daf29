"""Nudges asked for by many at once while the Lambda's processes are killed: is anything lost?

    python -m tests.benchmarks.nudges_under_load --decisions 10000 --kills 10 --json FILE

On the local stage of a temporary folder. Customers are asked about several times at once, with a
cap of three nudges a week; one question in a hundred is asked twice under one key; a process of the
`nudge` function gets SIGKILL every so often, and whoever asked asks again. Then every customer's
item in the stage's table is held against the answers, one by one:

- every question has an answer, and a key the same one whenever it was asked;
- the table has a contact for every nudge that was answered, and no other;
- nobody got more than the cap.

An answer that says `degraded` was made without the table and promises nothing of this: those are
counted and left out, except that nobody's contacts may exceed the cap.
"""

from __future__ import annotations

import argparse
import collections
import functools
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

from inference.dynamo_profiles import DynamoProfiles
from inference.guardrail_rules import NONE
from pipelines import data, decisions, stacks
from pipelines.demo import nudges
from pipelines.demo.loop import EVENLY
from pipelines.errors import DecisionError
from pipelines.stage import Stage
from pipelines.workspace import Workspace
from tests.benchmarks.under_load import measure

CAP = 3
ASKED_OF_EACH = 5
ASKING_AT_ONCE = 8
MOST_ATTEMPTS = 10
ACTIONS = [{"action": name, "cost": 0.01 * (name != NONE)} for name in nudges.NAMES]
GUARDRAILS = {"caps": [{"scope": "global", "limit": CAP, "period": "week"}]}
Question = tuple[str, str]  # customer, key


@dataclass
class Counts:
    """What happened, and what is wrong: the last five have to be 0."""

    questions: int = 0
    asked_twice: int = 0
    nudges: int = 0
    degraded: int = 0
    kills: int = 0
    failures_seen: int = 0
    unanswered: int = 0
    changed_answers: int = 0
    lost_contacts: int = 0
    surplus_contacts: int = 0
    over_the_cap: int = 0

    @property
    def wrong(self) -> int:
        found = (self.unanswered, self.changed_answers, self.lost_contacts)
        return sum(found) + self.surplus_contacts + self.over_the_cap


@dataclass
class Asked:
    """The answers to each question, and how often the Lambda failed on the way."""

    answers: dict[Question, list[dict[str, Any]]] = field(
        default_factory=lambda: collections.defaultdict(list)
    )
    failures: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


def prepare(stage: Stage, tenant: str) -> None:
    """A tenant whose live policy draws evenly among actions that need nobody's consent."""
    stacks.add_tenant(stage, tenant, progress=lambda line: None)
    audience = nudges.simulate_audience(customers=600)
    with tempfile.TemporaryDirectory(prefix="nextbest-load-") as name:
        folder = Path(name)
        nudges.log_uniformly(audience).to_parquet(folder / "nudges.parquet", index=False)
        pd.DataFrame(ACTIONS).to_parquet(folder / "actions.parquet", index=False)
        (folder / "guardrails.json").write_text(json.dumps(GUARDRAILS), encoding="utf-8")
        data.import_datasets(stage, folder, tenant=tenant)
    run = Workspace(stage, tenant).train("nudge-policy", **EVENLY).wait(output=None)
    if run.view.outcome != "released":
        raise SystemExit(f"the policy was not released: {run.view.reasons}")


def questions(count: int, *, seed: int) -> list[Question]:
    """`count` different ones, five a customer, and one in a hundred a second time; shuffled."""
    rng = np.random.default_rng(seed)
    different = [
        (f"customer-{n // ASKED_OF_EACH}", f"key-{n % ASKED_OF_EACH}") for n in range(count)
    ]
    again = rng.choice(count, size=max(1, count // 100), replace=False)
    every = different + [different[n] for n in again.tolist()]
    return [every[n] for n in rng.permutation(len(every)).tolist()]


def ask_all(
    stage: Stage, tenant: str, asked: list[Question], *, kill: Callable[[int], None]
) -> Asked:
    """Ask for all, several at once, each until it is answered; `kill` hears of every answer."""
    found = Asked()
    ask = functools.partial(
        decisions.decide, stage, tenant, decision="nudge", client=stage.client("lambda")
    )
    with ThreadPoolExecutor(ASKING_AT_ONCE) as pool:
        answered = pool.map(functools.partial(_ask, ask, found), asked)
        for number, _ in enumerate(answered, 1):
            kill(number)
    return found


def _ask(ask: Callable[..., dict[str, Any]], found: Asked, question: Question) -> None:
    request = {"customer_id": question[0], "decision_key": question[1]}
    for _ in range(MOST_ATTEMPTS):
        try:
            answer = ask(request)
        except DecisionError:
            with found.lock:
                found.failures += 1
            continue
        with found.lock:
            found.answers[question].append(answer)
        return


def workers_of(server: int, function: str) -> list[psutil.Process]:
    """The processes in which the local stage of process `server` runs a function, oldest first."""
    return sorted(_named(psutil.Process(server), function), key=lambda found: found.create_time())


def _named(server: psutil.Process, function: str) -> Iterator[psutil.Process]:
    for child in server.children():
        try:
            if child.environ().get("AWS_LAMBDA_FUNCTION_NAME") == function:
                yield child
        except psutil.NoSuchProcess:
            continue


class Killer:
    """Kills the oldest process of a function after every so many answers, `times` in all."""

    def __init__(self, server: int, function: str, *, every: int, times: int) -> None:
        self.server, self.function, self.every, self.times = server, function, every, times
        self.kills = 0

    def __call__(self, answered: int) -> None:
        if self.kills == self.times or answered % self.every:
            return
        for worker in workers_of(self.server, self.function)[:1]:
            worker.kill()
            self.kills += 1


def audit(stage: Stage, tenant: str, asked: list[Question], found: Asked) -> Counts:
    """Hold the table against the answers, customer by customer, in one thread."""
    counts = Counts(questions=len(set(asked)), asked_twice=len(asked) - len(set(asked)))
    counts.failures_seen = found.failures
    counts.unanswered = len(asked) - sum(map(len, found.answers.values()))
    by_customer: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for (customer, _), answers in found.answers.items():
        sound = [answer for answer in answers if not answer["degraded"]]
        counts.degraded += len(answers) - len(sound)
        # Whether it was logged is told of each sending.
        told = [{**answer, "logged": None} for answer in sound]
        counts.changed_answers += any(answer != told[0] for answer in told)
        by_customer[customer] += sound[:1] or answers[:1]
    client = stage.client("dynamodb")
    profiles = DynamoProfiles(stage.profiles_table, tenant, client=client)
    for customer, answers in by_customer.items():
        contacts = [(c.action, c.at) for c in profiles.read(customer).profile.contacts]
        compare(counts, contacts, answers)
    return counts


def compare(counts: Counts, contacts: list[tuple[str, Any]], answers: list[dict[str, Any]]) -> None:
    """One customer's contacts in the table against the nudges that were answered."""
    sent = [answer for answer in answers if answer["action"] != NONE]
    counts.nudges += len(sent)
    is_sound = not any(answer["degraded"] for answer in answers)
    counts.over_the_cap += (max(len(contacts), len(sent)) if is_sound else len(contacts)) > CAP
    stored = collections.Counter((action, f"{at:%Y%m%dT%H%M%S%f}") for action, at in contacts)
    expected = collections.Counter(
        (a["action"], f"{pd.Timestamp(a['decided_at']):%Y%m%dT%H%M%S%f}") for a in sent
    )
    if is_sound:
        counts.lost_contacts += (expected - stored).total()
        counts.surplus_contacts += (stored - expected).total()


def run(stage: Stage, server: int, *, tenant: str, count: int, kills: int) -> Counts:
    """Prepare, ask, kill, audit. `server` is the local stage's process."""
    prepare(stage, tenant)
    asked = questions(count, seed=0)
    every = max(1, len(asked) // (kills + 1))
    killer = Killer(server, stage.function(tenant, "nudge"), every=every, times=kills)
    found = ask_all(stage, tenant, asked, kill=killer)
    counts = audit(stage, tenant, asked, found)
    counts.kills = killer.kills
    return counts


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--decisions", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--json", type=Path, help="Write the counts there.")
    given = parser.parse_args(arguments)
    sizes = {"count": given.decisions, "kills": given.kills}
    measure(
        "nudges-under-load",
        lambda stage, server: run(stage, server, tenant="load", **sizes),
        json=given.json,
    )


if __name__ == "__main__":
    main()
