"""The rules of a sync: `[events]` of `nextbest.toml`, which jobs get as strings."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from training.nudge.joining import JoiningRules


class SyncRules(JoiningRules, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How rewards find their decisions, and what else a sync has to be told.

    `click_events` and `purchase_events` are the tenant's own words, divided by commas, for what
    counts as a click and as a purchase of a product that a slot showed. A `drift` above
    `drift_threshold` is worth a retraining.
    """

    click_events: str = "view,click"
    purchase_events: str = "purchase"
    drift_threshold: Annotated[float, Meta(gt=0)] = 0.25

    @property
    def clicks(self) -> list[str]:
        return words(self.click_events)

    @property
    def purchases(self) -> list[str]:
        return words(self.purchase_events)


def words(listed: str) -> list[str]:
    """`a, b` as `["a", "b"]`."""
    return [word.strip() for word in listed.split(",") if word.strip()]
