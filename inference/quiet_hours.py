"""Quiet hours on a customer's clock, the days on which it is moved included. Runs in a Lambda."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from inference.guardrail_rules import QuietHours

MINUTES_PER_DAY = 1440


def minute_of_day(clock: str) -> int:
    """`21:30` → 1290."""
    return int(clock[:2]) * 60 + int(clock[3:])


def minute_of(local: datetime) -> int:
    """Minutes since midnight on that clock."""
    return local.hour * 60 + local.minute


class QuietWindow:
    """Quiet hours as minutes of the local day."""

    def __init__(self, hours: QuietHours) -> None:
        self.start, self.end = minute_of_day(hours.start), minute_of_day(hours.end)

    def holds(self, minute: int) -> bool:
        """Whether that minute of the local day is quiet."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


def quiet_from(window: QuietWindow, now: datetime, *, local: datetime, until: datetime) -> datetime:
    """When quiet hours next begin after `now`, which is `local` on the customer's clock.

    `until` where they do not begin before it. They begin at their start, or where the clock is
    moved into them: on such a day a local time happens twice or never. `until` is at most some
    days away: one move of the clock in between.
    """
    zone = local.tzinfo
    if until.astimezone(zone).utcoffset() == local.utcoffset():
        minutes = (window.start - minute_of(local)) % MINUTES_PER_DAY
        begins = timedelta(0, 60 * minutes - local.second, -local.microsecond)
        return min(until, now + begins)
    moments = [clock_change(local, until)]
    for days in (0, 1, 2):
        day = local.date() + timedelta(days=days)
        wall = datetime(day.year, day.month, day.day, window.start // 60, window.start % 60)
        moments += [wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
    after = [moment for moment in moments if now < moment < until]
    return min((m for m in after if window.holds(minute_of(m.astimezone(zone)))), default=until)


def clock_change(local: datetime, last: datetime) -> datetime:
    """The first second in (local, last] with another offset than `local`; `last` without one."""
    zone, before = local.tzinfo, local.utcoffset()
    if last.astimezone(zone).utcoffset() == before:
        return last
    low, high = int(local.timestamp()), int(last.timestamp()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, UTC)
