"""What limits a nudge: rules of an action and of a tenant, as they stand in the artefact.

Plain data, checked when read: a rule that can never hold, or that names no channel it could mean,
is refused before the policy goes live. `inference/guardrails.py` applies them. Runs in a Lambda.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

NONE = "none"
Plain = str | int | float | bool
Name = Annotated[str, Meta(min_length=1, max_length=256)]
LocalTime = Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]
Period = Literal["hour", "day", "week"]
PERIOD_SECONDS: dict[str, float] = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0}


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A rule on one attribute of the customer (or, without it, of the context).

    A customer without the attribute is not eligible.
    """

    attribute: Name
    one_of: list[Plain] | None = None
    none_of: list[Plain] | None = None
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        told = (self.one_of, self.none_of, self.minimum, self.maximum)
        if all(part is None for part in told):
            raise ValueError(
                f"a condition on {self.attribute!r} needs one_of, none_of, minimum or maximum"
            )


class ActionSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An action a policy can choose. `cost` is in the unit of the reward's worth.

    With a `channel` it needs the customer's consent for it (and for `purpose`, if it has one).
    `none` cannot be limited: it is what remains when everything else is excluded.
    """

    action: Name
    cost: float = 0.0
    channel: Name | None = None
    purpose: Name | None = None
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    cooldown_days: Annotated[float, Meta(ge=0)] = 0.0
    conditions: list[Condition] = []

    def __post_init__(self) -> None:
        limits = (self.channel, self.valid_from, self.valid_until)
        if self.action == NONE and (
            any(part is not None for part in limits) or self.conditions or self.cooldown_days
        ):
            raise ValueError("the action 'none' takes no channel, dates, conditions or cool-down")
        first, last = self.valid_from, self.valid_until
        if first and last and as_utc(first) >= as_utc(last):
            raise ValueError(f"action {self.action!r}: valid_from is not before valid_until")


class QuietHours(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """From `start` to before `end` on the customer's clock (`21:00` to `08:00` spans midnight).

    Holds for the `channels` named; for every action, where none is.
    """

    start: LocalTime
    end: LocalTime
    channels: list[Name] = []

    def __post_init__(self) -> None:
        if self.start == self.end:
            raise ValueError(f"quiet hours from {self.start} to {self.end}: name two times")


class FrequencyCap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """At most `limit` contacts in any `period` (a rolling hour, 24 hours, 7 days).

    Counted per action, per channel or over all; `name` keeps it to one action or channel.
    """

    scope: Literal["action", "channel", "global"]
    limit: Annotated[int, Meta(ge=0)]
    period: Period
    name: Name | None = None

    def __post_init__(self) -> None:
        if self.scope == "global" and self.name is not None:
            raise ValueError("a global cap has no name: it counts every contact")


class GuardrailRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules of a tenant; `holdout_salt`, else its name, keeps its holdout its own."""

    quiet_hours: list[QuietHours] = []
    caps: list[FrequencyCap] = []
    holdout_share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    holdout_salt: str = ""
    default_time_zone: str = "UTC"
    decision_valid_minutes: Annotated[float, Meta(gt=0, le=10_080)] = 60.0

    def __post_init__(self) -> None:
        if open_zone(self.default_time_zone) is None:
            raise ValueError(f"default_time_zone {self.default_time_zone!r} is no IANA time zone")


def open_zone(name: str) -> ZoneInfo | None:
    """An IANA time zone, or None where there is none of that name."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # a folder of the database is an OSError
        return None


def aware(moment: datetime) -> datetime:
    """The moment with its zone; one without is taken as UTC."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def as_utc(moment: datetime) -> datetime:
    """The moment in UTC. Raises `ValueError` for one that UTC cannot hold."""
    try:
        return aware(moment).astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{moment.isoformat()} is out of range") from error
