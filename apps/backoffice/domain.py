"""How test clocks are moved. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from apps.core.errors import Conflict, Invalid
from apps.rating.periods import Cadence, Schedule, Unit

FURTHEST: Final = timedelta(days=3653)  # one request moves a clock by at most ten years

UNITS: Final[Mapping[str, Unit]] = {
    "days": Unit.DAY,
    "weeks": Unit.WEEK,
    "months": Unit.MONTH,
    "years": Unit.YEAR,
}


class ClockBusy(Conflict):
    """The clock is on its way to another instant."""

    reason = "clock_busy"


class ClockTooFar(Invalid):
    """The clock would be moved further than one request may."""

    reason = "clock_too_far"


def later(at: datetime, unit: str, count: int, *, zone: str) -> datetime:
    """Return the instant so many ``hours``, ``days``, ``weeks``, ``months`` or ``years`` later.

    Days and longer units are those of the zone's calendar, so that midnight stays midnight; hours
    are 3,600 seconds each. Raises ``ClockTooFar`` beyond ten years.
    """
    span = timedelta(hours=count)
    moved = (
        at + span
        if unit == "hours"
        else Schedule(at, Cadence(UNITS[unit], count), zone).boundary(1)
    )
    refuse_too_far(at, moved)
    return moved


def refuse_too_far(now: datetime, to: datetime) -> None:
    """Raise ``ClockTooFar`` if ``to`` is more than ten years after ``now``."""
    if to - now > FURTHEST:
        raise ClockTooFar(
            f"The clock stands at {now:%Y-%m-%d}; move it by at most ten years at once.",
            field="to",
        )
