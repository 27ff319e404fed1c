"""Laws of spans, of grids of boundaries, and of shares of periods."""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from fractions import Fraction
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from apps.rating.periods import (
    Alignment,
    Cadence,
    Schedule,
    Span,
    Unit,
    instant,
    schedule_for,
)
from apps.rating.proration import Basis, prorate
from tests.properties.rating_strategies import (
    cadences,
    cut_spans,
    instants,
    schedules,
    spans,
    zones,
)

ALL_ZONES = sorted(available_timezones() - {"localtime", "Factory"})
MICROSECOND = timedelta(microseconds=1)


def walked_dates(anchor: date, cadence: Cadence, count: int) -> list[date]:
    """The dates of boundaries 0 to ``count``, month by month or day by day, by the calendar."""
    if cadence.unit in {Unit.DAY, Unit.WEEK}:
        step = cadence.count * (7 if cadence.unit is Unit.WEEK else 1)
        return [date.fromordinal(anchor.toordinal() + step * n) for n in range(count + 1)]
    step = cadence.count * (12 if cadence.unit is Unit.YEAR else 1)
    dates, year, month = [], anchor.year, anchor.month
    for _ in range(count + 1):
        length = calendar.monthrange(year, month)[1]
        dates.append(date(year, month, min(anchor.day, length)))
        for _ in range(step):
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
    return dates


@given(schedules)
@pytest.mark.holds("P2")
def test_boundaries_are_those_of_the_calendar_walked_from_the_anchor(schedule: Schedule) -> None:
    zone = ZoneInfo(schedule.zone)
    wall = schedule.anchor.astimezone(zone)
    dates = walked_dates(wall.date(), schedule.cadence, 30)
    expected = [
        datetime.combine(day, wall.time()).replace(tzinfo=zone, fold=0).astimezone(UTC)
        for day in dates
    ]
    assert [schedule.boundary(n) for n in range(1, 31)] == expected[1:]
    assert schedule.boundary(0) == schedule.anchor


@given(schedules, st.integers(-60, 60))
def test_boundaries_never_descend(schedule: Schedule, n: int) -> None:
    before, at, after = (schedule.boundary(k) for k in (n - 1, n, n + 1))
    assert before <= at <= after
    if schedule.zone != "Pacific/Apia":
        assert before < at < after


@given(schedules, instants)
def test_every_instant_lies_in_the_period_of_its_index(schedule: Schedule, at: datetime) -> None:
    n = schedule.index_at(at)
    assert schedule.boundary(n) <= at < schedule.boundary(n + 1)
    assert schedule.period(n).contains(at)


@given(schedules, st.integers(-60, 60))
def test_a_boundary_opens_its_period(schedule: Schedule, n: int) -> None:
    assume(not schedule.period(n).is_empty())
    assert schedule.index_at(schedule.boundary(n)) == n
    assert schedule.index_at(schedule.boundary(n + 1) - MICROSECOND) == n


@given(schedules, spans())
@pytest.mark.holds("P1", "F66")
def test_periods_tile_the_range_without_overlap_or_gap(schedule: Schedule, span: Span) -> None:
    assume(span.microseconds() < 400 * 86_400_000_000)
    found = list(schedule.periods(span.start, span.end))
    assert found[0][1].start <= span.start < found[0][1].end
    assert found[-1][1].start < span.end <= found[-1][1].end
    for (n, period), (following, next_period) in pairwise(found):
        assert period.end == next_period.start
        assert n < following
    for n, period in found:
        assert period == schedule.period(n)
        assert not period.is_empty()


@pytest.mark.parametrize("anchor_day", [28, 29, 30, 31])
@pytest.mark.parametrize(
    "cadence", [Cadence(Unit.MONTH), Cadence(Unit.MONTH, 3), Cadence(Unit.YEAR)]
)
@pytest.mark.holds("M5")
def test_month_ends_in_every_zone_of_the_world(anchor_day: int, cadence: Cadence) -> None:
    months = cadence.months()
    for zone in ALL_ZONES:
        rules = ZoneInfo(zone)
        schedule = Schedule(instant(datetime(2027, 12, anchor_day, 9), rules), cadence, zone)  # noqa: DTZ001 -- a wall clock
        for n in range(24):
            year, month = divmod(2027 * 12 + 11 + n * months, 12)
            day = min(anchor_day, calendar.monthrange(year, month + 1)[1])
            shown = schedule.boundary(n).astimezone(rules)
            assert (shown.year, shown.month, shown.day) == (year, month + 1, day)
            assert shown.hour == 9


@given(
    instants,
    cadences,
    st.sampled_from(Alignment),
    zones,
    st.none() | st.integers(1, 31),
)
@example(
    datetime(2024, 4, 26, 12, tzinfo=UTC),
    Cadence(Unit.MONTH),
    Alignment.CALENDAR,
    "Africa/Cairo",
    26,
)
def test_a_schedule_covers_its_start_and_keeps_its_day(
    start: datetime, cadence: Cadence, alignment: Alignment, zone: str, anchor_day: int | None
) -> None:
    if cadence.unit is Unit.DAY:
        anchor_day = None
    elif cadence.unit is Unit.WEEK and anchor_day is not None:
        anchor_day = (anchor_day - 1) % 7 + 1
    schedule = schedule_for(start, cadence, alignment, zone, anchor_day)
    assert schedule.anchor <= start
    n = schedule.index_at(start)
    if alignment is Alignment.ANNIVERSARY and anchor_day is None:
        assert (schedule.anchor, n) == (start, 0)
        return
    rules = ZoneInfo(zone)
    for opening in (schedule.boundary(k) for k in range(n, n + 6)):
        shown = opening.astimezone(rules)
        midnight = instant(datetime.combine(shown.date(), time.min), rules)
        assert opening == midnight
        if cadence.unit is Unit.WEEK:
            assert shown.isoweekday() == (anchor_day or 1)
        elif cadence.unit in {Unit.MONTH, Unit.YEAR}:
            length = calendar.monthrange(shown.year, shown.month)[1]
            assert shown.day == min(anchor_day or 1, length)


@given(cut_spans(), st.sampled_from(Basis), zones)
@pytest.mark.holds("P8")
def test_the_shares_of_all_parts_add_up_to_one(
    cut: tuple[Span, list[Span]], basis: Basis, zone: str
) -> None:
    whole, parts = cut
    shares = [prorate(part, whole, basis, zone) for part in parts]
    assert sum(shares) == 1
    assert all(0 <= share <= 1 for share in shares)


@pytest.mark.parametrize("basis", list(Basis))
def test_the_shares_of_days_add_up_to_one_in_every_zone_of_the_world(basis: Basis) -> None:
    starts = [datetime(2011, 12, 27, tzinfo=UTC), datetime(2026, 3, 27, tzinfo=UTC)]
    for zone in ALL_ZONES:
        for start in starts:
            whole = Span(start, start + timedelta(days=6))
            hours = [start + timedelta(hours=h) for h in range(0, 6 * 24 + 1, 5)] + [whole.end]
            parts = [Span(a, b) for a, b in pairwise(hours)]
            shares = [prorate(part, whole, basis, zone) for part in parts]
            assert sum(shares) == 1
            assert min(shares) >= 0


@given(spans(), zones)
def test_by_the_second_a_share_is_its_share_of_time(whole: Span, zone: str) -> None:
    half = whole.start + (whole.end - whole.start) / 2
    part = Span(whole.start, half)
    share = prorate(part, whole, Basis.SECOND, zone)
    assert share == Fraction(part.microseconds(), whole.microseconds())


@given(spans(), spans())
def test_what_two_spans_share_and_what_they_do_not_make_up_the_first(a: Span, b: Span) -> None:
    shared = a.intersect(b)
    assert b.intersect(a) == shared
    pieces = sorted(
        [*a.subtract(b), *([] if shared is None else [shared])], key=lambda piece: piece.start
    )
    assert pieces[0].start == a.start
    assert pieces[-1].end == a.end
    assert all(left.end == right.start for left, right in pairwise(pieces))
    assert not any(piece.is_empty() for piece in pieces)
