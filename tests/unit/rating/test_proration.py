"""Shares of periods, by example."""

from datetime import UTC, datetime
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from apps.rating.periods import Span, instant
from apps.rating.proration import Basis, prorate


def span(start: str, end: str, zone: str = "UTC") -> Span:
    rules = ZoneInfo(zone)
    return Span(
        instant(datetime.fromisoformat(start), rules), instant(datetime.fromisoformat(end), rules)
    )


@pytest.mark.parametrize(
    ("part", "whole", "second", "day", "month_30"),
    [
        # half of April, which has 30 days in any calendar
        (("2026-04-16", "2026-05-01"), ("2026-04-01", "2026-05-01"), (1, 2), (1, 2), (1, 2)),
        # in a month of 31 days the last one is worth nothing in months of 30
        (("2026-03-31", "2026-04-01"), ("2026-03-01", "2026-04-01"), (1, 31), (1, 31), (1, 30)),
        (("2026-03-30", "2026-03-31"), ("2026-03-01", "2026-04-01"), (1, 31), (1, 31), (0, 1)),
        # the last day of February is worth three, or two in a leap year
        (("2026-02-28", "2026-03-01"), ("2026-02-01", "2026-03-01"), (1, 28), (1, 28), (3, 30)),
        (("2024-02-29", "2024-03-01"), ("2024-02-01", "2024-03-01"), (1, 29), (1, 29), (2, 30)),
        # a change at noon: the day counts for what begins, not for what ends
        (
            ("2026-04-01", "2026-04-10 12:00"),
            ("2026-04-01", "2026-05-01"),
            (19, 60),
            (9, 30),
            (9, 30),
        ),
        (
            ("2026-04-10 12:00", "2026-05-01"),
            ("2026-04-01", "2026-05-01"),
            (41, 60),
            (21, 30),
            (21, 30),
        ),
        # a year in months of 30 days has 360
        (("2026-01-01", "2026-01-11"), ("2026-01-01", "2027-01-01"), (2, 73), (2, 73), (1, 36)),
        # what lies outside the period does not count
        (("2026-01-01", "2026-04-16"), ("2026-04-01", "2026-05-01"), (1, 2), (1, 2), (1, 2)),
        (("2026-04-16", "2026-07-01"), ("2026-04-01", "2026-05-01"), (1, 2), (1, 2), (1, 2)),
        (("2026-05-01", "2026-06-01"), ("2026-04-01", "2026-05-01"), (0, 1), (0, 1), (0, 1)),
        (("2026-01-01", "2027-01-01"), ("2026-04-01", "2026-05-01"), (1, 1), (1, 1), (1, 1)),
    ],
)
def test_prorate(
    part: tuple[str, str],
    whole: tuple[str, str],
    second: tuple[int, int],
    day: tuple[int, int],
    month_30: tuple[int, int],
) -> None:
    shares = [prorate(span(*part), span(*whole), basis, "UTC") for basis in Basis]
    assert shares == [Fraction(*second), Fraction(*day), Fraction(*month_30)]


def test_days_are_those_of_the_zone() -> None:
    whole = span("2026-03-01", "2026-04-01", "Asia/Tokyo")
    from_midnight = Span(datetime(2026, 3, 14, 15, tzinfo=UTC), whole.end)
    from_before = Span(datetime(2026, 3, 14, 14, 59, 59, tzinfo=UTC), whole.end)
    assert prorate(from_midnight, whole, Basis.DAY, "Asia/Tokyo") == Fraction(17, 31)
    assert prorate(from_before, whole, Basis.DAY, "Asia/Tokyo") == Fraction(18, 31)
    assert prorate(from_before, whole, Basis.DAY, "UTC") == Fraction(17, 31)


def test_a_day_of_23_or_25_hours_is_a_day() -> None:
    whole = span("2026-03-01", "2026-04-01", "Europe/Berlin")
    short = span("2026-03-29", "2026-03-30", "Europe/Berlin")
    assert prorate(short, whole, Basis.DAY, "Europe/Berlin") == Fraction(1, 31)
    assert prorate(short, whole, Basis.SECOND, "Europe/Berlin") == Fraction(23, 31 * 24 - 1)
    autumn = span("2026-10-01", "2026-11-01", "Europe/Berlin")
    long = span("2026-10-25", "2026-10-26", "Europe/Berlin")
    assert prorate(long, autumn, Basis.DAY, "Europe/Berlin") == Fraction(1, 31)
    assert prorate(long, autumn, Basis.SECOND, "Europe/Berlin") == Fraction(25, 31 * 24 + 1)


def test_clocks_put_back_across_midnight_do_not_give_a_day_back() -> None:
    # on 7 November 2010 the clocks of St John's went from 00:01 to 23:01 the day before
    whole = span("2010-11-06", "2010-11-09", "America/St_Johns")
    repeated = datetime(2010, 11, 7, 2, 45, tzinfo=UTC)  # 23:15 for the second time
    early, late = Span(whole.start, repeated), Span(repeated, whole.end)
    assert prorate(early, whole, Basis.DAY, "America/St_Johns") == Fraction(1, 3)
    assert prorate(late, whole, Basis.DAY, "America/St_Johns") == Fraction(2, 3)


def test_a_repeated_hour_by_day_stays_on_its_day() -> None:
    whole = span("2026-10-25", "2026-10-27", "Europe/Berlin")
    second_time = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    assert prorate(Span(second_time, whole.end), whole, Basis.DAY, "Europe/Berlin") == 1


@pytest.mark.parametrize("basis", list(Basis))
def test_a_whole_shorter_than_its_unit_is_shared_by_the_second(basis: Basis) -> None:
    whole = span("2026-04-10 06:00", "2026-04-10 12:00")
    part = span("2026-04-10 06:00", "2026-04-10 07:30")
    assert prorate(part, whole, basis, "UTC") == Fraction(1, 4)


def test_the_30th_to_the_31st_is_no_time_in_months_of_30_and_shared_by_the_second() -> None:
    whole = span("2026-03-30", "2026-03-31")
    part = span("2026-03-30", "2026-03-30 06:00")
    assert prorate(part, whole, Basis.MONTH_30, "UTC") == Fraction(1, 4)


@pytest.mark.parametrize("basis", list(Basis))
def test_an_empty_whole_has_no_parts(basis: Basis) -> None:
    empty = span("2026-04-10", "2026-04-10")
    with pytest.raises(ValueError, match="empty"):
        prorate(empty, empty, basis, "UTC")


@pytest.mark.parametrize("basis", list(Basis))
def test_an_empty_part_is_no_share(basis: Basis) -> None:
    whole = span("2026-04-01", "2026-05-01")
    assert prorate(span("2026-04-10", "2026-04-10"), whole, basis, "UTC") == 0
