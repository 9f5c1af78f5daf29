"""A week of the simulated shop: customers come, the deployed Lambda decides, they react.

Called by the loop. Who comes and how they would react to each nudge is drawn from the seed alone;
which nudge they get is the live policy's draw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from pipelines.demo import nudges
from pipelines.demo.nudges import Audience
from pipelines.errors import RunError

Ask = Callable[[Mapping[str, Any]], dict[str, Any]]
ASKING_AT_ONCE = 4
_AFTER = timedelta(milliseconds=1)


@dataclass(frozen=True)
class Week:
    """What one week brought. `rows` are the audience's, (n,); `answers` the Lambda's; `actions`
    (n,) codes in the simulator's order; `rewards` (n,), costs not taken off."""

    rows: np.ndarray
    answers: list[dict[str, Any]]
    actions: np.ndarray
    rewards: np.ndarray

    @property
    def earned(self) -> float:
        """Mean reward less cost per decision, as it happened."""
        return float((self.rewards - nudges.COSTS[self.actions]).mean())


def live_through(
    audience: Audience,
    rows: np.ndarray,
    ask: Ask,
    *,
    key: str,
    rng: np.random.Generator,
    seen: Callable[[int], None] = lambda count: None,
) -> Week:
    """Let the customers in `rows` come. `key` names the week: asking twice is answered once.

    `seen` hears how many have been answered. Raises `RunError` for an answer that is none.
    """
    requests = [request_of(audience, row, key=key) for row in rows.tolist()]
    answers = list(_asked(ask, requests, seen))
    actions = np.array([_action_of(answer) for answer in answers])
    came = audience.of(rows)
    return Week(rows, answers, actions, nudges.react(came, actions, rng))


def request_of(audience: Audience, row: int, *, key: str) -> dict[str, Any]:
    """What the shop asks when a customer comes."""
    return {
        "customer_id": customer_id(row),
        "context": nudges.context_of(audience, row),
        "profile": nudges.profile_of(audience, row),
        "decision_key": key,
    }


def customer_id(row: int) -> str:
    return f"customer-{row}"


def _asked(
    ask: Ask, requests: list[dict[str, Any]], seen: Callable[[int], None]
) -> Iterable[dict[str, Any]]:
    """The answers, in the requests' order, a few asked for at once."""
    with ThreadPoolExecutor(ASKING_AT_ONCE) as pool:
        for count, answer in enumerate(pool.map(ask, requests), 1):
            seen(count)
            yield answer


def _action_of(answer: dict[str, Any]) -> int:
    if answer.get("action") not in nudges.NAMES:
        raise RunError(f"the live nudge Lambda answered {answer}; expected one of {nudges.NAMES}")
    return nudges.NAMES.index(answer["action"])


def logged_of(week: Week) -> list[str]:
    """The ids of the decisions that are on their way to the archive. The others, of which stream
    and queue took none for a moment, go there with the next week's."""
    return [answer["decision_id"] for answer in week.answers if answer.get("logged") is not False]


def rewards_of(week: Week, *, tenant: str) -> list[dict[str, Any]]:
    """What came of the week's decisions, as events: of those where anything came."""
    return [
        {
            "schema_version": 1,
            "type": "reward",
            "event_id": f"reward-{answer['decision_id']}",
            "tenant": tenant,
            "timestamp": (datetime.fromisoformat(answer["decided_at"]) + _AFTER).isoformat(),
            "decision_id": answer["decision_id"],
            "customer_id": customer_id(row),
            "action": answer["action"],
            "reward": reward,
        }
        for answer, row, reward in zip(
            week.answers, week.rows.tolist(), week.rewards.tolist(), strict=True
        )
        if reward
    ]
