"""Making the events' partitions ahead of time, and dropping them when they are old enough."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile
from typing import Final

from django.db import connection, transaction

from apps.core.failpoints import failpoint
from apps.metering.models import EventsDropped

MONTHS_BACK: Final = 13
MONTHS_AHEAD: Final = 3
_MONTHS_PER_YEAR: Final = 12
_LOCK: Final = 4_803_112_022  # of whoever changes partitions, among advisory locks

_IN_DEFAULT: Final = "SELECT metering_months_in_default()"
_PARTITIONS: Final = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'metering_usageevent'::regclass AND c.relname ~ '_[0-9]{6}$'
ORDER BY c.relname
"""


@dataclass(frozen=True, slots=True)
class Kept:
    """The months whose partitions were made, and those whose were dropped."""

    made: tuple[date, ...]
    dropped: tuple[date, ...]


def keep_partitions(at: datetime, *, retention: timedelta | None = None) -> Kept:
    """Have a partition for every month around ``at``, and for each that events have fallen into.

    With ``retention``, months that ended so long ago are dropped, the oldest first, once all their
    events are rolled up: their keys and rollups stay. A repeat does nothing.
    """
    at = at.astimezone(UTC)
    made = tuple(month for month in _months_wanted(at, retention) if _make(month))
    dropped: tuple[date, ...] = ()
    if retention is not None:
        dropped = tuple(takewhile(_drop, _months_before(at - retention)))
    return Kept(made, dropped)


def _months_wanted(at: datetime, retention: timedelta | None) -> list[date]:
    first = at.date().replace(day=1)
    wanted = {_months_on(first, number) for number in range(-MONTHS_BACK, MONTHS_AHEAD + 1)}
    if retention is not None:
        wanted = {month for month in wanted if _months_on(month, 1) > (at - retention).date()}
    with connection.cursor() as cursor:
        cursor.execute(_IN_DEFAULT)
        wanted |= {row[0] for row in cursor.fetchall()}
    return sorted(wanted - {month for month, _ in _partitions()})


def _months_before(at: datetime) -> list[date]:
    """Return the months that have partitions and ended by ``at``, the oldest first."""
    return [month for month, _ in _partitions() if _months_on(month, 1) <= at.date()]


def _partitions() -> list[tuple[date, str]]:
    with connection.cursor() as cursor:
        cursor.execute(_PARTITIONS)
        names = [row[0] for row in cursor.fetchall()]
    return [(date(int(name[-6:-2]), int(name[-2:]), 1), name) for name in names]


@transaction.atomic
def _make(month: date) -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute("SELECT metering_make_partition(%s)", [month])
        failpoint("metering.partition.after_make")
        return bool(cursor.fetchone()[0])


@transaction.atomic
def _drop(month: date) -> bool:
    """Drop a month's events, unless one of them is not rolled up yet."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        cursor.execute("SELECT metering_drop_partition(%s)", [month])
        if not cursor.fetchone()[0]:
            return False
    end = _months_on(month, 1)
    before = datetime(end.year, end.month, 1, tzinfo=UTC)
    known = EventsDropped.objects.select_for_update().first()
    if known is None or known.before < before:
        EventsDropped.objects.update_or_create(pk=1, defaults={"before": before})
    return True


def _months_on(month: date, number: int) -> date:
    months = month.year * _MONTHS_PER_YEAR + month.month - 1 + number
    return date(months // _MONTHS_PER_YEAR, months % _MONTHS_PER_YEAR + 1, 1)
