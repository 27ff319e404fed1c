"""Months in which clocks are changed: what each hour, day and call costs, reckoned by hand."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.make.stories import Story, calls, canceled, change, rows, tell

pytestmark = pytest.mark.django_db(transaction=True)

# Months in which the clocks of a place are changed, and two places where they never are. What one
# seat costs is 1.00 an hour of the month by the second, and 1.00 a day of it by days; a call costs
# 0.01. A second seat comes when a day begins there; one call is made a second before the month, 10
# when it begins, 100 a second before it ends and 1000 when it ends. The last three columns are what
# is billed for the month before, for this month, and for the next, at two seats.
CLOCKS = """
America/New_York    2026-03-01T05:00:00Z 2026-03-16T04:00:00Z 2026-04-01T04:00:00Z 743 31 774.01 1175.10 1558.00
America/New_York    2026-11-01T04:00:00Z 2026-11-02T05:00:00Z 2026-12-01T05:00:00Z 721 30 751.01 1477.10 1512.00
Europe/Berlin       2026-02-28T23:00:00Z 2026-03-29T22:00:00Z 2026-03-31T22:00:00Z 743 31 774.01  825.10 1558.00
Europe/Berlin       2026-09-30T22:00:00Z 2026-10-25T23:00:00Z 2026-10-31T23:00:00Z 745 31 776.01  927.10 1562.00
Australia/Sydney    2026-03-31T13:00:00Z 2026-04-05T14:00:00Z 2026-04-30T14:00:00Z 721 30 751.01 1377.10 1512.00
Australia/Sydney    2026-09-30T14:00:00Z 2026-10-04T13:00:00Z 2026-10-31T13:00:00Z 743 31 774.01 1450.10 1558.00
Asia/Kathmandu      2026-02-28T18:15:00Z 2026-03-15T18:15:00Z 2026-03-31T18:15:00Z 744 31 775.01 1176.10 1560.00
Pacific/Kiritimati  2026-01-31T10:00:00Z 2026-02-14T10:00:00Z 2026-02-28T10:00:00Z 672 28 700.01 1051.10 1410.00
"""
# how the sums of the month come about:
#   hours at one seat + 2 x hours at two | days at one seat + 2 x days at two | 110 calls
#   New York    359 + 2 x 384 = 1127 | 15 + 2 x 16 = 47 | 1.10; in autumn 25 + 2 x 696 = 1417 | 1 + 2 x 29 = 59
#   Berlin      695 + 2 x  48 =  791 | 29 + 2 x  2 = 33 | 1.10; in autumn 601 + 2 x 144 = 889 | 25 + 2 x 6 = 37
#   Sydney      121 + 2 x 600 = 1321 |  5 + 2 x 25 = 55 | 1.10; in spring  95 + 2 x 648 = 1391 | 4 + 2 x 27 = 58
#   Kathmandu   360 + 2 x 384 = 1128 | 15 + 2 x 16 = 47 | 1.10
#   Kiritimati  336 + 2 x 336 = 1008 | 14 + 2 x 14 = 42 | 1.10


def clock_plan(name: str, hours: str, days: str) -> dict[str, Any]:
    return {
        "key": name,
        "name": name,
        "billing_period": "monthly",
        "charges": [
            {
                "key": "seats",
                "timing": "arrears",
                "pricing": {"model": "per_unit", "unit_price": f"{hours}.00"},
            },
            {
                "key": "by_days",
                "timing": "arrears",
                "proration": "day",
                "pricing": {"model": "per_unit", "unit_price": f"{days}.00"},
            },
            {
                "key": "calls",
                "meter": "calls",
                "pricing": {"model": "per_unit", "unit_price": "0.01"},
            },
        ],
    }


def second_before(at: str) -> str:
    return (datetime.fromisoformat(at) - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def midnight(day: date, zone: str) -> str:
    begins = datetime.combine(day, time.min, ZoneInfo(zone)).astimezone(UTC)
    return begins.strftime("%Y-%m-%dT%H:%M:%SZ")


def month_of(at: str, zone: str) -> date:
    return datetime.fromisoformat(at).astimezone(ZoneInfo(zone)).date()


def test_months_in_which_clocks_are_changed() -> None:
    stories, plans, told = {}, [], []
    for zone, start, seat, end, hours, days, *totals in rows(CLOCKS):
        first = month_of(start, zone)
        assert first.day == 1
        before = (first - timedelta(days=1)).replace(day=1)
        after = month_of(end, zone).replace(day=28) + timedelta(days=4)
        name = f"{zone.partition('/')[2].lower()}_{first.month}"
        begins = midnight(before, zone)
        plans.append(clock_plan(name, hours, days))
        ends = midnight(after.replace(day=1), zone)
        stories[name] = Story(
            {"plan": name, "start_date": before.isoformat()},
            [
                calls(second_before(start), "1"),
                calls(start, "10"),
                change(seat, "change_quantity", quantity="2"),
                calls(second_before(end), "100"),
                calls(end, "1000"),
                canceled(ends),
            ],
            list(zip((start, end, ends), totals, strict=True)),
            told=begins,
            zone=zone,
        )
        told.append(begins)
    tell(stories, plans, begins=min(told), until="2027-01-02")
