"""How long one nudge decision takes, JSON in to JSON out, beside Vowpal Wabbit in the same run.

    python -m tests.benchmarks.nudge_serving --json FILE

Ours: contract, guardrails, encoding, values, probabilities, draw, answer; the log line is not
written. Vowpal Wabbit's `cb_explore_adf` from the same JSON to the same kind of answer (decode,
write its text, predict, draw, encode), and its bare `predict` on a ready text. It is skipped, with
a line, where the extra `benchmarks` is not installed. Wall microseconds per decision (p50, p99) and
mean CPU microseconds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from inference.artifact import Artifact
from inference.nudge import Nudge
from inference.nudge_contracts import decode_nudge_request
from inference.nudge_service import NudgeService
from inference.policy import KIND, Policy, draw
from tests.benchmarks.rows import Row, peak_mb, write_rows

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
NUMBERS, CATEGORIES, WIDTH = 6, 6, 6 + 6 * 4
TARGETS = {3: 20.0, 80: 150.0}
GUARDRAILS: dict[str, Any] = {
    "quiet_hours": [{"start": "21:00", "end": "08:00"}],
    "caps": [
        {"scope": "global", "limit": 20, "period": "week"},
        {"scope": "action", "limit": 1, "period": "day"},
    ],
    "holdout_share": 0.05,
}
PROFILE = {
    "consents": {"email": True},
    "time_zone": "Europe/Paris",
    "contacts": [{"action": "action-1", "at": f"2026-02-2{n}T09:00:00Z"} for n in range(5)],
}
_encode = msgspec.json.Encoder().encode


def service(actions: int, *, is_guarded: bool) -> NudgeService:
    """A softmax policy over 12 features (30 columns)."""
    numbers = [
        {"name": f"number_{n}", "type": "number", "start": n, "width": 1} for n in range(NUMBERS)
    ]
    categories = [
        {"name": f"category_{n}", "type": "category", "start": NUMBERS + 4 * n, "width": 4}
        | {"values": ["a", "b", "c"]}
        for n in range(CATEGORIES)
    ]
    limits = {"channel": "email", "cooldown_days": 1} if is_guarded else {}
    specs = [{"action": f"action-{n}", "cost": 0.1, **limits} for n in range(actions - 1)]
    serving = {
        "policy": "softmax",
        "temperature": 0.3,
        "exploration_floor": 0.05,
        "salt": "salt",
        "features": numbers + categories,
        "actions": [{"action": "none"}, *specs],
        "guardrails": GUARDRAILS if is_guarded else {},
    }
    values = np.random.default_rng(0).normal(size=(actions, WIDTH + 1)).astype(np.float32)
    artifact = Artifact({"kind": KIND, "serving": serving}, {"coefficients": values}, {})
    nudge = Nudge(Policy(artifact), tenant="acme")
    return NudgeService(nudge, run="run", version="1", log=lambda record: None)


def request(number: int, *, is_guarded: bool) -> bytes:
    """One of the requests, as JSON."""
    context: dict[str, Any] = {f"number_{n}": 0.1 * n + number % 7 for n in range(NUMBERS)}
    context |= {f"category_{n}": "abcd"[(n + number) % 4] for n in range(CATEGORIES)}
    asked = {"customer_id": f"customer-{number}", "context": context}
    return _encode({**asked, "profile": PROFILE} if is_guarded else asked)


def measure(answer: Callable[[int], Any], *, rounds: int) -> dict[str, float]:
    """Microseconds per call, after a warm-up."""
    for number in range(300):
        answer(number)
    walls, began = np.empty(rounds), time.process_time_ns()
    for number in range(rounds):
        start = time.perf_counter_ns()
        answer(number)
        walls[number] = time.perf_counter_ns() - start
    cpu = (time.process_time_ns() - began) / rounds
    p50, p99 = np.percentile(walls, [50, 99]) / 1e3
    return {"p50_us": round(p50, 1), "p99_us": round(p99, 1), "cpu_us": round(cpu / 1e3, 1)}


def ours(actions: int, *, is_guarded: bool, rounds: int) -> dict[str, float]:
    asked = service(actions, is_guarded=is_guarded)
    bodies = [request(number, is_guarded=is_guarded) for number in range(500)]

    def answer(number: int) -> bytes:
        decoded = decode_nudge_request(bodies[number % 500])
        return _encode(asked.respond(decoded, now=NOW, decision_id=f"{number:032x}"))

    return measure(answer, rounds=rounds)


def _vw_text(context: dict[str, Any], actions: int) -> str:
    words = " ".join(
        f"{name}={value}" if isinstance(value, str) else f"{name}:{value}"
        for name, value in context.items()
    )
    return "\n".join([f"shared |c {words}", *(f"|a action={n}" for n in range(actions))])


def vowpal_wabbit(actions: int, *, rounds: int) -> dict[str, dict[str, float]]:
    """The same decisions by `cb_explore_adf --softmax`, context crossed with actions."""
    from vowpalwabbit import Workspace

    model = Workspace("--cb_explore_adf --softmax --lambda 3 -q ca --quiet")
    bodies = [request(number, is_guarded=False) for number in range(500)]
    texts = [_vw_text(json.loads(body)["context"], actions) for body in bodies]
    for number, text in enumerate(texts):  # so that there are weights to look up
        shared, *lines = text.split("\n")
        lines[number % actions] = f"0:{-(number % 3)}:{1 / actions} {lines[number % actions]}"
        model.learn("\n".join([shared, *lines]))

    def answer(number: int) -> bytes:
        decoded = msgspec.json.decode(bodies[number % 500])
        chances = model.predict(_vw_text(decoded["context"], actions))
        drawn = draw(chances, decision_id=f"{number:032x}", salt="salt")
        return _encode({"action": drawn, "propensity": chances[drawn], "propensities": chances})

    found = {"json to json": measure(answer, rounds=rounds)}
    found["predict only"] = measure(lambda n: model.predict(texts[n % 500]), rounds=rounds)
    model.finish()
    return found


def run(*, rounds: int) -> Iterator[Row]:
    """Every row of the table."""
    for actions in TARGETS:
        for is_guarded in (False, True):
            name = "nextbest, guardrails" if is_guarded else "nextbest"
            found = ours(actions, is_guarded=is_guarded, rounds=rounds)
            yield _row(actions, name, found, rounds=rounds)
        try:
            for what, found in vowpal_wabbit(actions, rounds=rounds).items():
                yield _row(actions, f"vowpal wabbit, {what}", found, rounds=rounds)
        except ImportError:
            print("vowpalwabbit is not installed: pip install -e '.[benchmarks]'")


def _row(actions: int, model: str, found: dict[str, float], *, rounds: int) -> Row:
    seconds = round(found["cpu_us"] * rounds / 1e6, 2)
    return Row("nudge-serving", f"{actions} actions", model, found, seconds, peak_mb())


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="Write the figures there.")
    parser.add_argument("--rounds", type=int, default=5000, help="Decisions per row.")
    given = parser.parse_args(arguments)
    rows = []
    print(f"{'set':>10}  {'model':<28} {'p50 µs':>8} {'p99 µs':>8} {'CPU µs':>8}")
    for row in run(rounds=given.rounds):
        rows.append(row)
        figures = " ".join(f"{row.metrics[name]:>8}" for name in ("p50_us", "p99_us", "cpu_us"))
        print(f"{row.set:>10}  {row.model:<28} {figures}", flush=True)
    print(f"targets, p50 without guardrails: {TARGETS}")
    if given.json:
        write_rows(given.json, rows)


if __name__ == "__main__":
    main()
