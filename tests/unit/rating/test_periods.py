"""Spans, and grids of boundaries, by example."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from apps.core.errors import Invalid
from apps.rating.periods import (
    Alignment,
    AnchorDayInvalid,
    Cadence,
    CadenceInvalid,
    Schedule,
    Span,
    Unit,
    ZoneUnknown,
    instant,
    schedule_for,
    zone_info,
)

MONTHLY = Cadence(Unit.MONTH)
YEARLY = Cadence(Unit.YEAR)
DAILY = Cadence(Unit.DAY)
WEEKLY = Cadence(Unit.WEEK)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local(text: str, zone: str) -> datetime:
    return instant(datetime.fromisoformat(text), ZoneInfo(zone))


def shown(at: datetime, zone: str) -> str:
    return at.astimezone(ZoneInfo(zone)).replace(tzinfo=None).isoformat(" ")


def shown_boundaries(schedule: Schedule, first: int, last: int) -> list[str]:
    return [shown(schedule.boundary(n), schedule.zone) for n in range(first, last + 1)]


SPAN = Span(utc("2026-03-01"), utc("2026-04-01"))


@pytest.mark.holds("M5", "P1")
def test_a_span_contains_its_start_and_not_its_end() -> None:
    instant_before = timedelta(microseconds=1)
    assert SPAN.contains(utc("2026-03-01"))
    assert SPAN.contains(utc("2026-04-01") - instant_before)
    assert not SPAN.contains(utc("2026-04-01"))
    assert not SPAN.contains(utc("2026-03-01") - instant_before)


def test_a_span_without_instants_is_empty() -> None:
    empty = Span(utc("2026-03-01"), utc("2026-03-01"))
    assert empty.is_empty()
    assert not empty.contains(utc("2026-03-01"))
    assert not SPAN.is_empty()


def test_a_span_is_kept_in_utc() -> None:
    east = timezone(timedelta(hours=2))
    span = Span(datetime(2026, 3, 1, 2, tzinfo=east), datetime(2026, 4, 1, 2, tzinfo=east))
    assert span == SPAN
    assert (span.start.tzinfo, span.end.tzinfo) == (UTC, UTC)
    half = Span(utc("2026-03-01"), datetime(2026, 4, 1, 2, tzinfo=east))
    assert half.end.tzinfo is UTC


def test_the_length_of_a_span_is_that_of_time_and_not_of_clocks() -> None:
    zone = ZoneInfo("Europe/Berlin")
    span = Span(datetime(2026, 3, 29, tzinfo=zone), datetime(2026, 3, 30, tzinfo=zone))
    assert span.seconds() == 23 * 3600


def test_a_span_neither_runs_backwards_nor_lacks_a_zone() -> None:
    with pytest.raises(ValueError, match="cannot end"):
        Span(utc("2026-04-01"), utc("2026-03-01"))
    naive = datetime(2026, 5, 1)  # noqa: DTZ001 -- what is refused
    with pytest.raises(ValueError, match="naive"):
        Span(utc("2026-04-01"), naive)
    with pytest.raises(ValueError, match="naive"):
        Span(naive, naive)
    with pytest.raises(ValueError, match="naive"):
        Span(naive, utc("2026-06-01"))


@pytest.mark.parametrize(
    ("other", "shared", "rest"),
    [
        (("2026-01-01", "2026-02-01"), None, [("2026-03-01", "2026-04-01")]),
        (("2026-01-01", "2026-03-01"), None, [("2026-03-01", "2026-04-01")]),
        (("2026-04-01", "2026-05-01"), None, [("2026-03-01", "2026-04-01")]),
        (
            ("2026-02-01", "2026-03-10"),
            ("2026-03-01", "2026-03-10"),
            [("2026-03-10", "2026-04-01")],
        ),
        (
            ("2026-03-10", "2026-05-01"),
            ("2026-03-10", "2026-04-01"),
            [("2026-03-01", "2026-03-10")],
        ),
        (
            ("2026-03-10", "2026-03-20"),
            ("2026-03-10", "2026-03-20"),
            [("2026-03-01", "2026-03-10"), ("2026-03-20", "2026-04-01")],
        ),
        (("2026-03-01", "2026-04-01"), ("2026-03-01", "2026-04-01"), []),
        (("2026-02-01", "2026-05-01"), ("2026-03-01", "2026-04-01"), []),
        (("2026-03-10", "2026-03-10"), None, [("2026-03-01", "2026-04-01")]),
    ],
)
def test_intersect_and_subtract(
    other: tuple[str, str], shared: tuple[str, str] | None, rest: list[tuple[str, str]]
) -> None:
    taken = Span(*map(utc, other))
    assert SPAN.intersect(taken) == (None if shared is None else Span(*map(utc, shared)))
    assert SPAN.subtract(taken) == tuple(Span(*map(utc, ends)) for ends in rest)


def test_nothing_is_left_of_an_empty_span() -> None:
    empty = Span(utc("2026-03-01"), utc("2026-03-01"))
    assert empty.intersect(SPAN) is None
    assert empty.subtract(SPAN) == ()


def test_lengths_are_exact_to_the_microsecond() -> None:
    span = Span(utc("2026-03-01"), utc("2026-03-01 00:00:01.000001"))
    assert span.microseconds() == 1_000_001
    assert span.seconds() == Decimal("1.000001")


@pytest.mark.parametrize("count", [0, -1, 1001])
def test_a_cadence_counts_from_1_to_1000(count: int) -> None:
    with pytest.raises(CadenceInvalid) as caught:
        Cadence(Unit.MONTH, count)
    assert (caught.value.reason, caught.value.field) == ("cadence_invalid", "count")
    assert isinstance(caught.value, Invalid)


def test_the_bounds_of_a_cadence_are_accepted() -> None:
    assert Cadence(Unit.DAY, 1).days() == 1
    assert Cadence(Unit.DAY, 1000).days() == 1000


@pytest.mark.parametrize(
    ("cadence", "months", "days"),
    [
        (Cadence(Unit.DAY, 3), 0, 3),
        (Cadence(Unit.WEEK, 2), 0, 14),
        (Cadence(Unit.MONTH, 3), 3, 0),
        (Cadence(Unit.YEAR, 2), 24, 0),
    ],
)
def test_a_cadence_is_one_of_months_or_of_days(cadence: Cadence, months: int, days: int) -> None:
    assert (cadence.months(), cadence.days()) == (months, days)


@pytest.mark.parametrize(
    "zone",
    [
        "",
        "Mars/Olympus",
        "europe/berlin",
        "America",
        "../etc/passwd",
        "/etc/localtime",
        "localtime",
        "posixrules",
        "Factory",
        "right/UTC",
        "posix/Europe/Berlin",
        "\0",
    ],
)
def test_a_zone_that_is_no_place_is_unknown(zone: str) -> None:
    with pytest.raises(ZoneUnknown) as caught:
        zone_info(zone)
    assert caught.value.reason == "zone_unknown"
    with pytest.raises(ZoneUnknown):
        Schedule(utc("2026-01-01"), MONTHLY, zone)


@pytest.mark.holds("F66", "M5")
def test_skipped_times_shift_forward_and_repeated_ones_are_the_first() -> None:
    assert local("2026-03-29 02:30", "Europe/Berlin") == utc("2026-03-29 01:30")
    assert local("2026-10-25 02:30", "Europe/Berlin") == utc("2026-10-25 00:30")
    second = datetime(2026, 10, 25, 2, 30, fold=1)  # noqa: DTZ001 -- a wall clock has no zone
    assert instant(second, ZoneInfo("Europe/Berlin")) == utc("2026-10-25 00:30")


@pytest.mark.holds("P2")
def test_the_31st_comes_back_after_a_shorter_month() -> None:
    schedule = Schedule(utc("2025-01-31 10:30"), MONTHLY, "UTC")
    assert shown_boundaries(schedule, -3, 5) == [
        "2024-10-31 10:30:00",
        "2024-11-30 10:30:00",
        "2024-12-31 10:30:00",
        "2025-01-31 10:30:00",
        "2025-02-28 10:30:00",
        "2025-03-31 10:30:00",
        "2025-04-30 10:30:00",
        "2025-05-31 10:30:00",
        "2025-06-30 10:30:00",
    ]


@pytest.mark.parametrize(
    ("day", "february", "leap_february"),
    [(28, 28, 28), (29, 28, 29), (30, 28, 29), (31, 28, 29)],
)
def test_month_ends_in_february(day: int, february: int, leap_february: int) -> None:
    schedule = Schedule(datetime(2023, 1, day, tzinfo=UTC), MONTHLY, "UTC")
    assert schedule.boundary(1) == datetime(2023, 2, february, tzinfo=UTC)
    assert schedule.boundary(2) == datetime(2023, 3, day, tzinfo=UTC)
    assert schedule.boundary(13) == datetime(2024, 2, leap_february, tzinfo=UTC)


@pytest.mark.holds("P2", "F66")
def test_29_february_bills_28_february_in_common_years() -> None:
    schedule = Schedule(utc("2024-02-29"), YEARLY, "UTC")
    assert shown_boundaries(schedule, 0, 4) == [
        "2024-02-29 00:00:00",
        "2025-02-28 00:00:00",
        "2026-02-28 00:00:00",
        "2027-02-28 00:00:00",
        "2028-02-29 00:00:00",
    ]


@pytest.mark.parametrize(
    ("cadence", "expected"),
    [
        (DAILY, "2026-03-12 09:00:00"),
        (WEEKLY, "2026-03-18 09:00:00"),
        (Cadence(Unit.WEEK, 2), "2026-03-25 09:00:00"),
        (Cadence(Unit.MONTH, 3), "2026-06-11 09:00:00"),
        (YEARLY, "2027-03-11 09:00:00"),
    ],
)
def test_every_unit_keeps_the_local_time(cadence: Cadence, expected: str) -> None:
    schedule = Schedule(local("2026-03-11 09:00", "America/New_York"), cadence, "America/New_York")
    assert shown(schedule.boundary(1), "America/New_York") == expected


def test_boundaries_follow_the_clocks_of_the_zone() -> None:
    schedule = Schedule(local("2026-03-28 02:30", "Europe/Berlin"), DAILY, "Europe/Berlin")
    assert [schedule.boundary(n) for n in range(4)] == [
        utc("2026-03-28 01:30"),
        utc("2026-03-29 01:30"),  # 02:30 is skipped: 03:30 by the clocks
        utc("2026-03-30 00:30"),
        utc("2026-03-31 00:30"),
    ]
    autumn = Schedule(local("2026-10-24 02:30", "Europe/Berlin"), DAILY, "Europe/Berlin")
    assert autumn.boundary(1) == utc("2026-10-25 00:30")
    assert autumn.period(1).seconds() == 25 * 3600


def test_boundary_0_is_the_anchor_even_in_a_repeated_hour() -> None:
    second_time = utc("2026-10-25 01:30:00.000007")
    schedule = Schedule(second_time, DAILY, "Europe/Berlin")
    assert schedule.boundary(0) == second_time
    assert schedule.boundary(1) == utc("2026-10-26 01:30:00.000007")
    assert schedule.index_at(second_time) == 0
    assert schedule.index_at(second_time - timedelta(microseconds=1)) == -1


def test_an_instant_in_a_repeated_hour_lies_after_the_first_time_it_was_shown() -> None:
    schedule = Schedule(local("2026-10-20 02:45", "Europe/Berlin"), DAILY, "Europe/Berlin")
    quarter_past_two_again = utc("2026-10-25 01:15")
    assert schedule.boundary(5) == utc("2026-10-25 00:45")
    assert schedule.index_at(quarter_past_two_again) == 5


def test_an_anchor_in_another_zone_is_the_same_instant() -> None:
    east = datetime(2026, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    schedule = Schedule(east, MONTHLY, "UTC")
    assert schedule == Schedule(utc("2026-01-31 10:00"), MONTHLY, "UTC")
    assert schedule.boundary(0).tzinfo is UTC


def test_a_naive_anchor_is_refused() -> None:
    with pytest.raises(ValueError, match="naive"):
        Schedule(datetime(2026, 1, 1), MONTHLY, "UTC")  # noqa: DTZ001 -- what is refused


def test_a_day_that_a_place_skipped_is_an_empty_period() -> None:
    schedule = Schedule(local("2011-12-29 00:00", "Pacific/Apia"), DAILY, "Pacific/Apia")
    assert schedule.period(1).is_empty()
    assert schedule.index_at(local("2011-12-31 08:00", "Pacific/Apia")) == 2
    numbers = [n for n, _ in schedule.periods(schedule.boundary(0), schedule.boundary(4))]
    assert numbers == [0, 2, 3]


@pytest.mark.parametrize(
    ("at", "n"),
    [
        ("2025-01-31 10:30", 0),
        ("2025-02-28 10:29:59.999999", 0),
        ("2025-02-28 10:30", 1),
        ("2025-03-31 10:29:59.999999", 1),
        ("2025-03-31 10:30", 2),
        ("2025-01-31 10:29:59.999999", -1),
        ("2024-12-31 10:30", -1),
        ("2024-12-31 10:29:59.999999", -2),
        ("2035-01-31 10:30", 120),
    ],
)
def test_index_at(at: str, n: int) -> None:
    assert Schedule(utc("2025-01-31 10:30"), MONTHLY, "UTC").index_at(utc(at)) == n


def test_periods_are_whole_and_touch_the_range() -> None:
    schedule = Schedule(utc("2026-01-15"), MONTHLY, "UTC")
    assert list(schedule.periods(utc("2026-02-20"), utc("2026-04-15"))) == [
        (1, Span(utc("2026-02-15"), utc("2026-03-15"))),
        (2, Span(utc("2026-03-15"), utc("2026-04-15"))),
    ]


@pytest.mark.parametrize(
    ("start", "end", "numbers"),
    [
        ("2026-02-15", "2026-03-15", [1]),
        ("2026-02-14 23:59:59.999999", "2026-03-15 00:00:00.000001", [0, 1, 2]),
        ("2026-02-15", "2026-02-15", []),
        ("2026-02-16", "2026-02-15", []),
        ("2026-02-20", "2026-02-20", []),
        ("2026-02-20", "2026-02-20 00:00:00.000001", [1]),
    ],
)
def test_periods_of_a_range(start: str, end: str, numbers: list[int]) -> None:
    schedule = Schedule(utc("2026-01-15"), MONTHLY, "UTC")
    assert [n for n, _ in schedule.periods(utc(start), utc(end))] == numbers


@pytest.mark.parametrize(
    ("cadence", "alignment", "anchor_day", "start", "anchor"),
    [
        # the anniversary is the start, to the second
        (MONTHLY, Alignment.ANNIVERSARY, None, "2026-03-17 14:05:09", "2026-03-17 14:05:09"),
        (DAILY, Alignment.ANNIVERSARY, None, "2026-03-17 14:05:09", "2026-03-17 14:05:09"),
        # a day asked for is the last one at or before the start
        (MONTHLY, Alignment.ANNIVERSARY, 17, "2026-03-17 14:05:09", "2026-03-17 00:00:00"),
        (MONTHLY, Alignment.ANNIVERSARY, 17, "2026-03-17 00:00:00", "2026-03-17 00:00:00"),
        (MONTHLY, Alignment.ANNIVERSARY, 18, "2026-03-17 14:05:09", "2026-02-18 00:00:00"),
        (MONTHLY, Alignment.ANNIVERSARY, 5, "2026-01-03 00:00:00", "2025-12-05 00:00:00"),
        (YEARLY, Alignment.ANNIVERSARY, 18, "2026-03-17 14:05:09", "2026-02-18 00:00:00"),
        (WEEKLY, Alignment.ANNIVERSARY, 2, "2026-03-17 14:05:09", "2026-03-17 00:00:00"),
        (WEEKLY, Alignment.ANNIVERSARY, 3, "2026-03-17 14:05:09", "2026-03-11 00:00:00"),
        (WEEKLY, Alignment.ANNIVERSARY, 7, "2026-03-17 14:05:09", "2026-03-15 00:00:00"),
        # the calendar's units
        (DAILY, Alignment.CALENDAR, None, "2026-03-17 14:05:09", "2026-03-17 00:00:00"),
        (Cadence(Unit.DAY, 9), Alignment.CALENDAR, None, "2026-03-17 14:05", "2026-03-17 00:00:00"),
        (WEEKLY, Alignment.CALENDAR, None, "2026-03-17 14:05:09", "2026-03-16 00:00:00"),
        (WEEKLY, Alignment.CALENDAR, None, "2026-03-16 00:00:00", "2026-03-16 00:00:00"),
        (WEEKLY, Alignment.CALENDAR, 7, "2026-03-17 14:05:09", "2026-03-15 00:00:00"),
        (MONTHLY, Alignment.CALENDAR, None, "2026-03-17 14:05:09", "2026-03-01 00:00:00"),
        (MONTHLY, Alignment.CALENDAR, None, "2026-03-01 00:00:00", "2026-03-01 00:00:00"),
        (MONTHLY, Alignment.CALENDAR, 20, "2026-03-17 14:05:09", "2026-02-20 00:00:00"),
        (YEARLY, Alignment.CALENDAR, None, "2026-03-17 14:05:09", "2026-01-01 00:00:00"),
        (YEARLY, Alignment.CALENDAR, 15, "2026-03-17 14:05:09", "2026-01-15 00:00:00"),
        (YEARLY, Alignment.CALENDAR, 15, "2026-01-14 23:59:59", "2025-01-15 00:00:00"),
        # two, three, four, six and twelve months count from January
        (Cadence(Unit.MONTH, 2), Alignment.CALENDAR, None, "2026-04-17", "2026-03-01 00:00:00"),
        (Cadence(Unit.MONTH, 3), Alignment.CALENDAR, None, "2026-03-17", "2026-01-01 00:00:00"),
        (Cadence(Unit.MONTH, 3), Alignment.CALENDAR, None, "2026-12-31", "2026-10-01 00:00:00"),
        (Cadence(Unit.MONTH, 4), Alignment.CALENDAR, None, "2026-08-31", "2026-05-01 00:00:00"),
        (Cadence(Unit.MONTH, 6), Alignment.CALENDAR, None, "2026-07-01", "2026-07-01 00:00:00"),
        (Cadence(Unit.MONTH, 12), Alignment.CALENDAR, None, "2026-12-31", "2026-01-01 00:00:00"),
        (Cadence(Unit.MONTH, 5), Alignment.CALENDAR, None, "2026-03-17", "2026-03-01 00:00:00"),
        (Cadence(Unit.MONTH, 24), Alignment.CALENDAR, None, "2026-03-17", "2026-03-01 00:00:00"),
        (Cadence(Unit.MONTH, 3), Alignment.ANNIVERSARY, 1, "2026-03-17", "2026-03-01 00:00:00"),
        # a day that the month does not have: as many cadences back as it takes
        (MONTHLY, Alignment.ANNIVERSARY, 31, "2026-03-15 00:00:00", "2026-01-31 00:00:00"),
        (MONTHLY, Alignment.ANNIVERSARY, 31, "2026-03-31 00:00:00", "2026-03-31 00:00:00"),
        (MONTHLY, Alignment.ANNIVERSARY, 30, "2026-03-01 00:00:00", "2026-01-30 00:00:00"),
        (Cadence(Unit.MONTH, 3), Alignment.ANNIVERSARY, 31, "2026-03-15", "2025-08-31 00:00:00"),
        (YEARLY, Alignment.ANNIVERSARY, 29, "2026-03-15", "2024-02-29 00:00:00"),
        (YEARLY, Alignment.ANNIVERSARY, 31, "2026-03-15", "2024-02-29 00:00:00"),
        (YEARLY, Alignment.ANNIVERSARY, 31, "2026-05-15", "2026-04-30 00:00:00"),
        (YEARLY, Alignment.ANNIVERSARY, 29, "1903-03-15", "1896-02-29 00:00:00"),
        (Cadence(Unit.YEAR, 1000), Alignment.ANNIVERSARY, 29, "2026-03-15", "2026-02-28 00:00:00"),
    ],
)
def test_schedule_for(
    cadence: Cadence, alignment: Alignment, anchor_day: int | None, start: str, anchor: str
) -> None:
    zone = "America/Los_Angeles"
    schedule = schedule_for(local(start, zone), cadence, alignment, zone, anchor_day)
    assert shown(schedule.anchor, zone) == anchor
    assert (schedule.cadence, schedule.zone) == (cadence, zone)
    assert schedule.anchor <= local(start, zone)


def test_the_grid_reaches_the_31st_wherever_it_exists() -> None:
    schedule = schedule_for(
        utc("2026-03-15"), Cadence(Unit.MONTH, 3), Alignment.ANNIVERSARY, "UTC", 31
    )
    n = schedule.index_at(utc("2026-03-15"))
    assert shown_boundaries(schedule, n, n + 2) == [
        "2026-02-28 00:00:00",
        "2026-05-31 00:00:00",
        "2026-08-31 00:00:00",
    ]


def test_the_calendar_is_that_of_the_zone() -> None:
    start = utc("2026-03-01 03:00")  # still 28 February in New York
    assert schedule_for(start, MONTHLY, Alignment.CALENDAR, "UTC").anchor == utc("2026-03-01")
    assert schedule_for(start, MONTHLY, Alignment.CALENDAR, "America/New_York").anchor == utc(
        "2026-02-01 05:00"
    )


def test_an_anchor_whose_midnight_is_skipped_lies_a_cadence_earlier() -> None:
    # on 26 April 2024 the clocks of Cairo went from 00:00 to 01:00
    start = local("2024-04-26 12:00", "Africa/Cairo")
    monthly = schedule_for(start, MONTHLY, Alignment.ANNIVERSARY, "Africa/Cairo", 26)
    assert shown_boundaries(monthly, 0, 2) == [
        "2024-03-26 00:00:00",
        "2024-04-26 01:00:00",
        "2024-05-26 00:00:00",
    ]
    daily = schedule_for(start, DAILY, Alignment.CALENDAR, "Africa/Cairo")
    assert shown_boundaries(daily, 0, 2) == [
        "2024-04-25 00:00:00",
        "2024-04-26 01:00:00",
        "2024-04-27 00:00:00",
    ]
    weekly = schedule_for(start, WEEKLY, Alignment.ANNIVERSARY, "Africa/Cairo", 5)
    assert shown(weekly.anchor, "Africa/Cairo") == "2024-04-19 00:00:00"


@pytest.mark.parametrize(
    ("unit", "anchor_day"),
    [
        (Unit.MONTH, 0),
        (Unit.MONTH, 32),
        (Unit.YEAR, 32),
        (Unit.WEEK, 0),
        (Unit.WEEK, 8),
        (Unit.DAY, 1),
    ],
)
@pytest.mark.parametrize("alignment", list(Alignment))
def test_an_anchor_day_exists_in_its_unit(
    unit: Unit, anchor_day: int, alignment: Alignment
) -> None:
    with pytest.raises(AnchorDayInvalid) as caught:
        schedule_for(utc("2026-03-15"), Cadence(unit), alignment, "UTC", anchor_day)
    assert (caught.value.reason, caught.value.field) == ("anchor_day_invalid", "anchor_day")
