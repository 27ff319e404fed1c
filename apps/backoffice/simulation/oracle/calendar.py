"""Calendars, walked. Pure."""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from typing import Final
from zoneinfo import ZoneInfo

Span = tuple[datetime, datetime]  # from, included, to, excluded

DAY: Final = timedelta(days=1)
_LONGEST_MONTH: Final = 31
_DAYS_OF_30: Final = 30
_MONTHS: Final = 12


def shown(at: datetime, zone: str) -> datetime:
    """Return what the clocks of the zone show at an instant."""
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def first_instant(wall: datetime, zone: str) -> datetime:
    """Return when the clocks first show a local time; one that is skipped comes as much later."""
    around = [wall.replace(tzinfo=UTC) + shift for shift in (-2 * DAY, 2 * DAY)]
    offsets = [wall_shift(one, zone) for one in around]
    hits = [
        at
        for at in (wall.replace(tzinfo=UTC) - offset for offset in offsets)
        if shown(at, zone) == wall
    ]
    return min(hits) if hits else wall.replace(tzinfo=UTC) - offsets[0]


def wall_shift(at: datetime, zone: str) -> timedelta:
    """Return how far the clocks of the zone are ahead of UTC at an instant."""
    return shown(at, zone) - at.astimezone(UTC).replace(tzinfo=None)


def month_length(day: date) -> int:
    """Return how many days the month of a day has, by walking to its end."""
    length = day.day
    while (day + DAY).month == day.month:
        day += DAY
        length += 1
    return length


def months_later(day: date, months: int, wanted: int) -> date:
    """Return the wanted day of the month so many months later (or earlier), or that month's last."""
    first = day.replace(day=1)
    for _ in range(months):
        first = (first + timedelta(days=_LONGEST_MONTH + 1)).replace(day=1)
    for _ in range(-months):
        first = (first - DAY).replace(day=1)
    return first.replace(day=min(wanted, month_length(first)))


def months_of(period: Mapping[str, object]) -> int:
    """Return a billing period in months, 0 if it counts days."""
    count = int(str(period["count"]))
    return {"month": count, "year": count * _MONTHS}.get(str(period["unit"]), 0)


def days_of(period: Mapping[str, object]) -> int:
    """Return a billing period in days, 0 if it counts months."""
    count = int(str(period["count"]))
    return {"day": count, "week": count * 7}.get(str(period["unit"]), 0)


def boundaries(
    anchor: datetime,
    period: Mapping[str, object],
    zone: str,
    *,
    calendar_aligned: bool,
    anchor_day: int | None,
    since: datetime,
    until: datetime,
) -> list[datetime]:
    """Return the boundaries of a grid from the last at or before ``since`` to one after ``until``."""
    by_start = not calendar_aligned and anchor_day is None
    day = shown(anchor, zone).date()
    clock = shown(anchor, zone).time() if by_start else time()
    months, days = months_of(period), days_of(period)
    wanted = day.day if by_start else anchor_day or 1
    if not by_start:
        day = _opening_day(day, period, months, calendar_aligned, anchor_day)

    def boundary(number: int) -> datetime:
        # the clocks may show the anchor's own time twice; it is the one at which it was
        if by_start and not number:
            return anchor
        turn = months_later(day, number * months, wanted) if months else day + DAY * days * number
        return first_instant(datetime.combine(turn, clock), zone)

    number = 0
    while boundary(number) > since:
        number -= 1
    found = [boundary(number)]
    while found[-1] <= until:
        number += 1
        found.append(boundary(number))
    return found


def _opening_day(
    day: date,
    period: Mapping[str, object],
    months: int,
    calendar_aligned: bool,  # noqa: FBT001 -- as ``boundaries`` has it
    anchor_day: int | None,
) -> date:
    """Walk back to the day at whose midnight a period opens."""
    if period["unit"] == "week":
        while day.isoweekday() != (anchor_day or 1):
            day -= DAY
        return day
    if not months:
        return day
    wanted = anchor_day or 1
    count = int(str(period["count"]))
    opening = set(range(1, _MONTHS + 1))
    if calendar_aligned and period["unit"] == "year":
        opening = {1}
    elif calendar_aligned and _MONTHS % count == 0:
        opening = {month for month in opening if (month - 1) % count == 0}
    while day.month not in opening or day.day != min(wanted, month_length(day)):
        day -= DAY
    return day


def share(part: Span, whole: Span, basis: str, zone: str) -> Fraction:
    """Return which share of a period a part of it is, by the basis of the tenant."""
    if basis != "second":
        weigh = _one if basis == "day" else _of_30
        total = _weight(whole, zone, weigh)
        if total:
            return Fraction(_weight(part, zone, weigh), total)
    tick = timedelta(microseconds=1)
    return Fraction((part[1] - part[0]) // tick, (whole[1] - whole[0]) // tick)


def _weight(span: Span, zone: str, weigh: Callable[[date], int]) -> int:
    day, last = _day_at(span[0], zone), _day_at(span[1], zone)
    total = 0
    while day < last:
        total += weigh(day)
        day += DAY
    return total


def _day_at(at: datetime, zone: str) -> date:
    """Return the day that began last before or at an instant."""
    day = shown(at, zone).date() + DAY
    while first_instant(datetime.combine(day, time()), zone) > at:
        day -= DAY
    return day


def _one(_day: date) -> int:
    return 1


def _of_30(day: date) -> int:
    """Return what a day counts where all months have 30 days: the last makes up for the rest."""
    length = month_length(day)
    if day.day == length:
        return max(_DAYS_OF_30 - day.day, 0) + 1
    return 0 if day.day == _DAYS_OF_30 else 1
