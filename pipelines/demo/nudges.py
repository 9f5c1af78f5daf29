"""A simulated audience with known truth: how every customer answers every nudge. For the demo.

Some are won by a voucher, some by a push message in the app, some only need a reminder; some have
had enough mails: another one costs the sale and sometimes the subscription. What each nudge would
really bring is known for everyone, and so is the true value of any policy. Deterministic for a
seed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipelines.demo.shop import END, THINGS

# What the shop pays for each, in sales; and whose consent it takes.
ACTIONS: tuple[dict[str, Any], ...] = (
    {"action": "none", "cost": 0.0},
    {"action": "reminder-mail", "cost": 0.005, "channel": "email", "purpose": "marketing"},
    {"action": "voucher-mail", "cost": 0.06, "channel": "email", "purpose": "marketing"},
    {"action": "app-push", "cost": 0.005, "channel": "push"},
)
NAMES = tuple(str(action["action"]) for action in ACTIONS)
COSTS = np.array([action["cost"] for action in ACTIONS])
MAILS = np.array([action.get("channel") == "email" for action in ACTIONS])
GUARDRAILS: dict[str, Any] = {
    "quiet_hours": [{"start": "21:00", "end": "08:00", "channels": ["email", "push"]}],
    "caps": [{"scope": "global", "limit": 3, "period": "week"}],
}
# A lost subscription, in sales: the reward is sales less this.
SUBSCRIPTION = 0.5
# Three folds instead of five: the demo is in a hurry.
SETTINGS: dict[str, Any] = {
    "folds": 3,
    "reward_unit": "sale",
    "reward_minimum": -SUBSCRIPTION,
    "reward_maximum": 1.0,
}
EMAIL_CONSENT, PUSH_CONSENT = 0.85, 0.7


@dataclass(frozen=True)
class Audience:
    """Customers (n) and what the shop sees of them; `eligible`, `sale` and `unsubscribe` are
    (n, actions): allowed by consent, and the true probabilities that follow an action."""

    context: pd.DataFrame
    eligible: np.ndarray
    sale: np.ndarray
    unsubscribe: np.ndarray

    @property
    def expected(self) -> np.ndarray:
        """True expected reward of each action, (n, actions), its cost not taken off."""
        return self.sale - SUBSCRIPTION * self.unsubscribe

    @property
    def values(self) -> np.ndarray:
        """True value of each action, (n, actions): expected reward less cost."""
        return self.expected - COSTS

    def of(self, rows: np.ndarray) -> Audience:
        """Only these customers."""
        context = self.context.iloc[rows].reset_index(drop=True)
        return Audience(context, self.eligible[rows], self.sale[rows], self.unsubscribe[rows])


def simulate_audience(*, seed: int = 0, customers: int = 8000) -> Audience:
    """An audience of so many customers."""
    rng = np.random.default_rng([seed, 4])
    context = _context(rng, customers)
    patience = rng.normal(0, 0.5, customers)
    sale = _sigmoid(_base(context)[:, np.newaxis] + _effects(context, patience))
    has_app = (context["device"] == "app").to_numpy()
    agrees = rng.random(customers) < EMAIL_CONSENT
    eligible = np.ones(sale.shape, dtype=bool)
    eligible[:, MAILS] = agrees[:, np.newaxis]
    eligible[:, NAMES.index("app-push")] = has_app & (rng.random(customers) < PUSH_CONSENT)
    return Audience(context, eligible, sale, _unsubscribe(context, patience))


def _context(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """What the shop sees; an age is missing for one in eight."""
    age = np.clip(rng.normal(42, 14, count), 18, 90).round()
    return pd.DataFrame(
        {
            "recency_days": rng.exponential(40, count).round(),
            "orders": rng.poisson(4, count).astype(float),
            "ignored_mails": rng.negative_binomial(1.2, 0.25, count).clip(0, 12).astype(float),
            "age": np.where(rng.random(count) < 1 / 8, np.nan, age),
            "device": rng.choice(["app", "web", "shop"], count, p=[0.4, 0.45, 0.15]),
            "favourite": rng.choice(list(THINGS), count),
        }
    )


def _base(context: pd.DataFrame) -> np.ndarray:
    """Log-odds of a sale without any nudge."""
    regulars = 0.5 * np.log1p(context["orders"]) - 0.012 * context["recency_days"]
    return np.asarray(-2.3 + regulars + 0.3 * (context["favourite"] == "Coffee"))


def _effects(context: pd.DataFrame, patience: np.ndarray) -> np.ndarray:
    """What each action adds to the log-odds, (n, actions)."""
    ignored = context["ignored_mails"].to_numpy() - patience
    lapsed = _sigmoid((context["recency_days"].to_numpy() - 45) / 8)
    has_app = (context["device"] == "app").to_numpy()
    annoyed = np.clip(0.45 * (ignored - 3), 0, 2.5)
    effects = np.zeros((len(context), len(NAMES)))
    effects[:, NAMES.index("reminder-mail")] = 0.9 - annoyed - 0.6 * lapsed
    effects[:, NAMES.index("voucher-mail")] = 0.5 + 2.3 * lapsed - annoyed
    effects[:, NAMES.index("app-push")] = np.where(has_app, 1.3 - 0.8 * lapsed, 0.0)
    return effects


def _unsubscribe(context: pd.DataFrame, patience: np.ndarray) -> np.ndarray:
    """Probability that the action ends the subscription, (n, actions)."""
    leaves = _sigmoid(-4.5 + 0.5 * (context["ignored_mails"].to_numpy() - patience))
    found = np.zeros((len(context), len(NAMES)))
    found[:, MAILS] = leaves[:, np.newaxis]
    return found


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def react(audience: Audience, actions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rewards (n,) of one action index per customer: a sale, less a lost subscription's worth."""
    rows = np.arange(len(actions))
    bought = rng.random(len(actions)) < audience.sale[rows, actions]
    left = rng.random(len(actions)) < audience.unsubscribe[rows, actions]
    return bought - SUBSCRIPTION * left


def log_uniformly(audience: Audience, *, seed: int = 0) -> pd.DataFrame:
    """The `nudges` table of a campaign in which chance chose among the eligible actions."""
    rng = np.random.default_rng([seed, 5])
    count = len(audience.context)
    chances = uniform(audience)
    drawn = (chances.cumsum(axis=1) < rng.random((count, 1))).sum(axis=1)
    lists = [
        "|".join(name for name, can in zip(NAMES, row, strict=True) if can)
        for row in audience.eligible
    ]
    table = pd.DataFrame(
        {
            "decision_id": [f"campaign-{n}" for n in range(count)],
            "customer_id": [f"customer-{n}" for n in range(count)],
            "timestamp": _moments(rng, count),
            "action": np.array(NAMES)[drawn],
            "propensity": chances[np.arange(count), drawn],
            "reward": react(audience, drawn, rng),
            "eligible": lists,
        }
    )
    return pd.concat([table, audience.context.add_prefix("context_")], axis=1)


def _moments(rng: np.random.Generator, count: int) -> list[datetime]:
    """Moments of the four weeks before `END`."""
    return [END - timedelta(minutes=float(m)) for m in rng.uniform(0, 28 * 1440, count)]


def uniform(audience: Audience) -> np.ndarray:
    """Even chances over the eligible actions, (n, actions)."""
    return np.asarray(audience.eligible / audience.eligible.sum(axis=1, keepdims=True))


def constant(audience: Audience, action: str) -> np.ndarray:
    """That action where it is eligible, else none: (n, actions)."""
    found = np.zeros(audience.eligible.shape)
    can = audience.eligible[:, NAMES.index(action)]
    found[can, NAMES.index(action)] = 1.0
    found[~can, NAMES.index("none")] = 1.0
    return found


def best_constant(audience: Audience) -> str:
    """The action that is truly best for everybody alike."""
    return max(NAMES, key=lambda name: true_value(audience, constant(audience, name)))


def oracle(audience: Audience) -> np.ndarray:
    """The truly best eligible action of everyone, as only the simulator knows it."""
    best = np.where(audience.eligible, audience.values, -np.inf).argmax(axis=1)
    return np.eye(len(NAMES))[best]


def true_value(audience: Audience, probabilities: np.ndarray) -> float:
    """The true value per decision of a policy's probabilities, (n, actions), in sales."""
    return float((probabilities * audience.values).sum(axis=1).mean())


def profile_of(audience: Audience, customer: int) -> dict[str, Any]:
    """What a request tells of a customer: the consents."""
    can = audience.eligible[customer]
    return {
        "consents": {
            "email": bool(can[NAMES.index("reminder-mail")]),
            "push": bool(can[NAMES.index("app-push")]),
        }
    }


def context_of(audience: Audience, customer: int) -> dict[str, Any]:
    """A customer's context as a request has it; what is missing is left out."""
    row = audience.context.iloc[customer].to_dict()
    return {name: value for name, value in row.items() if value == value}


def write_nudges(folder: Path, *, seed: int = 0, customers: int = 8000) -> Audience:
    """The campaign's log, its actions and the shop's guardrails, as a canonical folder."""
    audience = simulate_audience(seed=seed, customers=customers)
    folder.mkdir(parents=True, exist_ok=True)
    log_uniformly(audience, seed=seed).to_parquet(folder / "nudges.parquet", index=False)
    pd.DataFrame(ACTIONS).to_parquet(folder / "actions.parquet", index=False)
    (folder / "guardrails.json").write_text(json.dumps(GUARDRAILS), encoding="utf-8")
    return audience
