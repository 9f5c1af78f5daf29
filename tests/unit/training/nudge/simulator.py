"""Logged decisions from a world whose truth is known, for tests of learning and of estimation."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from training.nudge.off_policy import Log

START = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """`rewards` (n, K) true chances of a reward, `logging` (n, K) how actions were drawn."""

    contexts: np.ndarray
    rewards: np.ndarray
    logging: np.ndarray

    def draw(self, generator: np.random.Generator) -> Log:
        points = generator.random((len(self.contexts), 1))
        actions = (self.logging.cumsum(axis=1) > points).argmax(axis=1)
        rows = np.arange(len(actions))
        rewarded = generator.random(len(rows)) < self.rewards[rows, actions]
        return Log(actions, rewarded.astype(float), self.logging[rows, actions])

    def true_value(self, probabilities: np.ndarray) -> float:
        return float((probabilities * self.rewards).sum(axis=1).mean())


def world(generator: np.random.Generator, *, count: int, skew: float, actions: int = 4) -> World:
    """Three context numbers; `skew` is how much the logging policy prefers some actions."""
    fixed = np.random.default_rng(0)
    slopes, tastes = fixed.normal(size=(actions, 3)), fixed.normal(size=(3, actions))
    contexts = generator.normal(size=(count, 3))
    rewards = 1 / (1 + np.exp(1 - 0.7 * contexts @ slopes.T))
    preferred = np.exp(skew * contexts @ tastes)
    logging = 0.9 * preferred / preferred.sum(axis=1, keepdims=True) + 0.1 / actions
    return World(contexts, rewards, logging)


def soft_target(world_: World, *, sharpness: float = 6.0) -> np.ndarray:
    """A policy that prefers what is truly better, (n, K)."""
    scores = np.exp(sharpness * world_.rewards)
    return scores / scores.sum(axis=1, keepdims=True)


def nudges_table(seed: int = 0, *, count: int = 3000, effect: float = 2.0) -> pd.DataFrame:
    """Canonical nudges: `push` helps the young and annoys the old by `effect`, `mail` does little.

    A uniform log of three actions, with a number that is missing now and then and a category.
    """
    generator = np.random.default_rng(seed)
    age = generator.normal(45, 15, count).round()
    device = generator.choice(["app", "web"], count)
    action = generator.choice(["none", "mail", "push"], count)
    push = np.where(action == "push", -effect * (age - 45) / 15, 0.0)
    score = -1.0 + 0.3 * (device == "app") + 0.1 * (action == "mail") + push
    reward = generator.random(count) < 1 / (1 + np.exp(-score))
    return pd.DataFrame(
        {
            "decision_id": [f"d{i}" for i in range(count)],
            "customer_id": [f"c{i // 2}" for i in range(count)],
            "timestamp": [START + timedelta(minutes=i) for i in range(count)],
            "action": action,
            "propensity": 1 / 3,
            "reward": reward.astype(float),
            "context_age": np.where(generator.random(count) < 0.1, np.nan, age),
            "context_device": device,
        }
    )
