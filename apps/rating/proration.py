"""What share of a period a part of it is. Pure.

Every basis places the two ends of a span on a scale that never descends and counts the distance
between them, so the shares of parts that make up a whole always add up to exactly one.
"""

from datetime import date, datetime, time, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final, assert_never

from apps.rating.periods import Span, instant, zone_info

_MONTHS_PER_YEAR: Final = 12
_DAYS_PER_MONTH: Final = 30


class Basis(StrEnum):
    """What is counted to tell how long a part of a period is.

    ``second``: time that passed. ``day``: days of the zone's calendar, the first counted and the
    last not; a day with 23 or 25 hours is one day. ``month_30``: days of a calendar whose months
    all have 30 days: the 31st is still the 30th, and the end of February lasts until 1 March.
    """

    SECOND = "second"
    DAY = "day"
    MONTH_30 = "month_30"


def prorate(part: Span, whole: Span, basis: Basis, zone: str) -> Fraction:
    """Return which share of ``whole`` lies in ``part``, from 0 to 1, exactly.

    What lies outside ``whole`` does not count. A whole that is shorter than the unit of its basis
    (six hours have no days) is shared by the second. An empty whole has no shares: ``ValueError``.
    Raises ``ZoneUnknown``.
    """
    if whole.is_empty():
        raise ValueError("an empty period has no parts")
    shared = part.intersect(whole)
    if shared is None:
        return Fraction(0)
    length = _length(whole, basis, zone)
    if length == 0:
        return Fraction(shared.microseconds(), whole.microseconds())
    return Fraction(_length(shared, basis, zone), length)


def _length(span: Span, basis: Basis, zone: str) -> int:
    match basis:
        case Basis.SECOND:
            return span.microseconds()
        case Basis.DAY:
            return (_date(span.end, zone) - _date(span.start, zone)).days
        case Basis.MONTH_30:
            return _day_of_30(_date(span.end, zone)) - _day_of_30(_date(span.start, zone))
        case _:
            assert_never(basis)


def _date(at: datetime, zone: str) -> date:
    """Return the day of the zone's calendar, the one that began last before or at an instant.

    Clocks that are put back across midnight show the day before again; the new day has begun
    nevertheless.
    """
    rules = zone_info(zone)
    local = at.astimezone(rules)
    shown = local.date()
    if local.fold:
        following = shown + timedelta(days=1)
        if instant(datetime.combine(following, time.min), rules) <= at:
            return following
    return shown


def _day_of_30(day: date) -> int:
    month = day.year * _MONTHS_PER_YEAR + day.month
    return month * _DAYS_PER_MONTH + min(day.day, _DAYS_PER_MONTH)
