"""Spans of time, and the grid of boundaries along which a subscription is billed. Pure.

Every span is half-open, ``[start, end)``, and in UTC. A grid is computed from its anchor in a time
zone, never from the boundary before, so an anchor on the 31st falls on 28 February and on 31 March.
"""

import calendar
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import MINYEAR, UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from typing import Final, assert_never
from zoneinfo import ZoneInfo

from apps.core.errors import Invalid
from apps.core.money import EXACT

_MICROSECOND: Final = timedelta(microseconds=1)
_DAY: Final = timedelta(days=1)
_MONTHS_PER_YEAR: Final = 12
_DAYS_PER_WEEK: Final = 7
_COMMON_YEAR: Final = (0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LEAP_YEAR: Final = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_SHORTEST_MONTH: Final = 28
_LONGEST_MONTH: Final = 31
_EVERY_MONTH: Final = frozenset(range(1, _MONTHS_PER_YEAR + 1))
# A grid that meets 29 February at all does so within as many steps, also around 1900 and 2100.
_CADENCES_TO_A_LEAP_DAY: Final = 8
_LARGEST_COUNT: Final = 1_000
# Files of the tz database that are no place: this machine's own zone, a placeholder, and copies
# with other rules (``right/`` counts leap seconds).
_NOT_PLACES: Final = ("localtime", "posixrules", "Factory", "posix/", "right/")


class ZoneUnknown(Invalid):
    """The name is not one of the IANA time zone database."""

    reason = "zone_unknown"


class CadenceInvalid(Invalid):
    """A cadence counts at least one unit, and not absurdly many."""

    reason = "cadence_invalid"


class AnchorDayInvalid(Invalid):
    """The anchor day does not exist in the unit of the cadence."""

    reason = "anchor_day_invalid"


@lru_cache(maxsize=1024)
def zone_info(zone: str) -> ZoneInfo:
    """Return the rules of an IANA time zone. Raises ``ZoneUnknown``."""
    if zone.startswith(_NOT_PLACES):
        raise ZoneUnknown(f"{zone!r} is not the name of a place's time zone")
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError):
        raise ZoneUnknown(f"{zone!r} is not an IANA time zone such as Europe/Berlin") from None


@dataclass(frozen=True, slots=True)
class Span:
    """The instants from ``start``, included, to ``end``, excluded; both are kept in UTC.

    Naive datetimes, and an end before the start, are programming errors: ``ValueError``.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is not UTC or self.end.tzinfo is not UTC:
            if self.start.tzinfo is None or self.end.tzinfo is None:
                raise ValueError("a span is made of instants; a naive datetime is none")
            object.__setattr__(self, "start", self.start.astimezone(UTC))
            object.__setattr__(self, "end", self.end.astimezone(UTC))
        if self.end < self.start:
            raise ValueError(f"a span cannot end at {self.end} before its start at {self.start}")

    def is_empty(self) -> bool:
        """Tell whether no instant lies in the span."""
        return self.start == self.end

    def contains(self, at: datetime) -> bool:
        """Tell whether an instant lies in the span: its start does, its end does not."""
        return self.start <= at < self.end

    def intersect(self, other: "Span") -> "Span | None":
        """Return the instants in both spans, or None where there are none."""
        start = max(self.start, other.start)
        end = min(self.end, other.end)
        return Span(start, end) if start < end else None

    def subtract(self, other: "Span") -> "tuple[Span, ...]":
        """Return the instants of this span that are not in the other: at most two spans."""
        shared = self.intersect(other)
        if shared is None:
            return () if self.is_empty() else (self,)
        sides = (Span(self.start, shared.start), Span(shared.end, self.end))
        return tuple(side for side in sides if not side.is_empty())

    def microseconds(self) -> int:
        """Return how long the span lasts, in whole microseconds."""
        return (self.end - self.start) // _MICROSECOND

    def seconds(self) -> Decimal:
        """Return how long the span lasts in seconds, exact to the microsecond."""
        return Decimal(self.microseconds()).scaleb(-6, EXACT)


class Unit(StrEnum):
    """What a cadence counts."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


class Alignment(StrEnum):
    """Whether periods begin where the subscription did, or where the calendar's do."""

    ANNIVERSARY = "anniversary"
    CALENDAR = "calendar"


@dataclass(frozen=True, slots=True)
class Cadence:
    """A distance between boundaries: every ``count`` days, weeks, months or years.

    Raises ``CadenceInvalid`` unless ``count`` is from 1 to 1000.
    """

    unit: Unit
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.count <= _LARGEST_COUNT:
            raise CadenceInvalid(
                f"a cadence of {self.count} {self.unit}s is not one of 1 to {_LARGEST_COUNT}",
                field="count",
            )

    def months(self) -> int:
        """Return the cadence in months, or 0 for one of days or weeks."""
        match self.unit:
            case Unit.MONTH:
                return self.count
            case Unit.YEAR:
                return self.count * _MONTHS_PER_YEAR
            case Unit.DAY | Unit.WEEK:
                return 0
            case _:
                assert_never(self.unit)

    def days(self) -> int:
        """Return the cadence in days, or 0 for one of months or years."""
        match self.unit:
            case Unit.DAY:
                return self.count
            case Unit.WEEK:
                return self.count * _DAYS_PER_WEEK
            case Unit.MONTH | Unit.YEAR:
                return 0
            case _:
                assert_never(self.unit)


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the instant at which the clocks of a zone show a naive local time.

    A local time that the clocks skip is shifted forward by what they skip (02:30 becomes 03:30);
    one that they show twice is the first of the two.
    """
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The boundaries of a subscription: the anchor, and every cadence before and after it.

    Boundary 0 is the anchor, to the microsecond; boundary ``n`` shows the anchor's time of day,
    ``n`` cadences away on the zone's calendar, on the month's last day where the anchor's day does
    not exist. Boundaries never descend. Two of them are equal, and their period empty, only where
    a place skipped a whole day (Samoa, 30 December 2011). Raises ``ZoneUnknown``.
    """

    anchor: datetime
    cadence: Cadence
    zone: str
    _rules: ZoneInfo = field(init=False, repr=False, compare=False)
    _wall: datetime = field(init=False, repr=False, compare=False)
    _months: int = field(init=False, repr=False, compare=False)
    _step: timedelta = field(init=False, repr=False, compare=False)
    _reckoned: dict[int, datetime] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.anchor.tzinfo is None:
            raise ValueError("an anchor is an instant; a naive datetime is none")
        rules = zone_info(self.zone)
        wall = self.anchor.astimezone(rules).replace(tzinfo=None)
        object.__setattr__(self, "anchor", self.anchor.astimezone(UTC))
        object.__setattr__(self, "_rules", rules)
        object.__setattr__(self, "_wall", wall)
        object.__setattr__(self, "_months", self.cadence.months())
        object.__setattr__(self, "_step", timedelta(days=self.cadence.days()))
        object.__setattr__(self, "_reckoned", {0: self.anchor})

    def boundary(self, n: int) -> datetime:
        """Return boundary ``n``, in UTC; ``n`` may be negative.

        Raises ``OverflowError`` or ``ValueError`` before the year 1 and after the year 9999.
        """
        found = self._reckoned.get(n)
        if found is None:
            if self._months == 0:
                wall = self._wall + self._step * n
            else:
                wall = _months_later(self._wall, self._months * n)
            found = self._reckoned[n] = instant(wall, self._rules)
        return found

    def index_at(self, t: datetime) -> int:
        """Return the number of the period with an instant: of the last boundary at or before it."""
        wall = t.astimezone(self._rules).replace(tzinfo=None)
        if self._months == 0:
            n = (wall - self._wall) // self._step
        else:
            n = _months_between(self._wall, wall) // self._months
        while self.boundary(n) > t:
            n -= 1
        while self.boundary(n + 1) <= t:
            n += 1
        return n

    def period(self, n: int) -> Span:
        """Return period ``n``, from boundary ``n`` to the next."""
        return Span(self.boundary(n), self.boundary(n + 1))

    def periods(self, start: datetime, end: datetime) -> Iterator[tuple[int, Span]]:
        """Yield each period, whole and with its number, that has an instant in ``[start, end)``."""
        if end <= start:
            return
        n = self.index_at(start)
        opens = self.boundary(n)
        while opens < end:
            closes = self.boundary(n + 1)
            if opens < closes:
                yield n, Span(opens, closes)
            n, opens = n + 1, closes


def schedule_for(
    start: datetime,
    cadence: Cadence,
    alignment: Alignment,
    zone: str,
    anchor_day: int | None = None,
) -> Schedule:
    """Return the grid of a subscription that starts at an instant.

    *Anniversary*: the anchor is the start itself or, with an anchor day, the last local midnight of
    that day at or before it. *Calendar*: the anchor is the last local midnight at or before the
    start at which the unit begins (the 1st, 1 January, Monday, every midnight) or, with an anchor
    day, at which that day does. Two, three, four, six or twelve calendar months count from January,
    so that three of them are the calendar's quarters.

    An anchor day is a day of the month, 1 to 31, for months and years, and a day of the week, 1
    (Monday) to 7, for weeks. Where the month in question lacks that day, or the day its midnight,
    the anchor lies as many cadences earlier as it takes to find both: the grid is the same, and
    reaches the day asked for wherever it exists. So the start need not lie in period 0.
    Raises ``AnchorDayInvalid``, also for an anchor day with a cadence of days, and ``ZoneUnknown``.
    """
    _check_anchor_day(cadence.unit, anchor_day)
    if alignment is Alignment.ANNIVERSARY and anchor_day is None:
        return Schedule(start, cadence, zone)
    rules = zone_info(zone)
    now = start.astimezone(rules).replace(tzinfo=None)
    wall = now.replace(hour=0, minute=0, second=0, microsecond=0)
    exact_day = None
    if cadence.unit is Unit.WEEK:
        wall -= _DAY * ((wall.isoweekday() - (anchor_day or 1)) % _DAYS_PER_WEEK)
    elif cadence.months():
        exact_day = anchor_day or 1
        opening = _opening_months(cadence) if alignment is Alignment.CALENDAR else _EVERY_MONTH
        candidates = _midnights_back(wall, opening, exact_day)
        wall = next(candidate for candidate in candidates if candidate <= wall)

    def merit(candidate: datetime) -> tuple[int, bool]:
        return (candidate.day if exact_day else 0, _is_shown(candidate, rules))

    reached = merit(wall)
    for earlier in _cadences_before(wall, cadence, exact_day):
        if reached == (exact_day or 0, True):
            break
        if merit(earlier) > reached:
            wall, reached = earlier, merit(earlier)
    return Schedule(instant(wall, rules), cadence, zone)


def _check_anchor_day(unit: Unit, anchor_day: int | None) -> None:
    if anchor_day is None:
        return
    if unit is Unit.DAY:
        raise AnchorDayInvalid("a cadence of days has no anchor day", field="anchor_day")
    last = _DAYS_PER_WEEK if unit is Unit.WEEK else _LONGEST_MONTH
    if not 1 <= anchor_day <= last:
        raise AnchorDayInvalid(
            f"the anchor day of a cadence of {unit}s is one of 1 to {last}, not {anchor_day}",
            field="anchor_day",
        )


def _opening_months(cadence: Cadence) -> frozenset[int]:
    """Return the months of the year in which a calendar period may open."""
    if cadence.unit is Unit.YEAR:
        return frozenset({1})
    if _MONTHS_PER_YEAR % cadence.count == 0:
        return frozenset(range(1, _MONTHS_PER_YEAR + 1, cadence.count))
    return _EVERY_MONTH


def _midnights_back(midnight: datetime, opening: frozenset[int], day: int) -> Iterator[datetime]:
    """Yield the local midnights of a day in the opening months, clamped, from this month back."""
    first = midnight.replace(day=1)
    while True:
        if first.month in opening:
            yield first.replace(day=min(day, _month_length(first.year, first.month)))
        first = _months_later(first, -1)


def _cadences_before(wall: datetime, cadence: Cadence, exact_day: int | None) -> Iterator[datetime]:
    """Yield the midnights of whole cadences before one, each on the day or its month's last."""
    for n in range(1, _CADENCES_TO_A_LEAP_DAY + 1):
        if exact_day is None:
            yield wall - _DAY * cadence.days() * n
            continue
        month = wall.year * _MONTHS_PER_YEAR + wall.month - 1 - cadence.months() * n
        year, zero_based = divmod(month, _MONTHS_PER_YEAR)
        if year >= MINYEAR:
            length = _month_length(year, zero_based + 1)
            yield wall.replace(year=year, month=zero_based + 1, day=min(exact_day, length))


def _is_shown(wall: datetime, rules: ZoneInfo) -> bool:
    """Tell whether the clocks of a zone ever show a local time."""
    return instant(wall, rules).astimezone(rules).replace(tzinfo=None) == wall


def _month_length(year: int, month: int) -> int:
    return (_LEAP_YEAR if calendar.isleap(year) else _COMMON_YEAR)[month]


def _months_later(wall: datetime, months: int) -> datetime:
    """Return the same local time that many months later, on the last day of a shorter month."""
    year, zero_based = divmod(
        wall.year * _MONTHS_PER_YEAR + wall.month - 1 + months, _MONTHS_PER_YEAR
    )
    month = zero_based + 1
    if wall.day <= _SHORTEST_MONTH:
        return wall.replace(year=year, month=month)
    return wall.replace(year=year, month=month, day=min(wall.day, _month_length(year, month)))


def _months_between(earlier: datetime, later: datetime) -> int:
    """Return how many months of the calendar lie between two local times."""
    return (later.year - earlier.year) * _MONTHS_PER_YEAR + later.month - earlier.month
