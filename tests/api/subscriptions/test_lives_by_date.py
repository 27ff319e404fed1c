"""Lives of subscriptions by date: ends, pauses, the past, trials and month ends, reckoned by hand.

A month of January costs 31.00 for a seat, which is 1.00 a day, or 62.00.
"""

import pytest

from tests.make.stories import PLANS, Act, Story, canceled, change, seats, tell

pytestmark = pytest.mark.django_db(transaction=True)

# A second of January, or of another month of 31 days, costs 1.00.
SECONDS = [
    seats("second_adv", "2678400.00", "monthly", "advance"),
    seats("second_arr", "2678400.00", "monthly", "arrears"),
]
TRIALS = [
    {
        "key": f"tried_{timing[:3]}",
        "name": "Tried",
        "billing_period": "monthly",
        "phases": [
            {"kind": "trial", "duration": {"unit": "day", "count": 14}, "charges": []},
            {
                "kind": "evergreen",
                "charges": seats("", "28.00", "monthly", timing)["charges"],
            },
        ],
    }
    for timing in ("advance", "arrears")
]

BEFORE, EXACTLY, AFTER = "2026-01-31T23:59:59Z", "2026-02-01T00:00:00Z", "2026-02-01T00:00:01Z"
JANUARY, FEBRUARY, MARCH, APRIL = ("2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01")
MAY = "2026-05-01"
MONTH = "2678400.00"


def begun(plan: str, **body: str) -> dict[str, str]:
    return {"plan": plan, "start_date": JANUARY, **body}


def uncanceled(at: str, status: int = 200) -> Act:
    return Act(at, "uncancel", {}, status)


def paused(at: str, behaviour: str = "prorate", **body: str) -> Act:
    return change(at, "pause", behaviour=behaviour, **body)


CANCELLATIONS = {
    # in advance a month of seconds is paid on the first; a second of February is 31/28 of one of
    # January, 1.107..., and what is left of February 2678400.00 - 1.11
    "adv-before": Story(
        begun("second_adv"), [canceled(BEFORE)], [(JANUARY, MONTH), (BEFORE, "-1.00")]
    ),
    "adv-exactly": Story(
        begun("second_adv"),
        [canceled(EXACTLY)],
        [(JANUARY, MONTH), (EXACTLY, f"-{MONTH}"), (EXACTLY, MONTH)],
    ),
    "adv-after": Story(
        begun("second_adv"),
        [canceled(AFTER)],
        [(JANUARY, MONTH), (FEBRUARY, MONTH), (AFTER, "-2678398.89")],
    ),
    "arr-before": Story(begun("second_arr"), [canceled(BEFORE)], [(BEFORE, "2678399.00")]),
    "arr-exactly": Story(begun("second_arr"), [canceled(EXACTLY)], [(EXACTLY, MONTH)]),
    "arr-after": Story(
        begun("second_arr"), [canceled(AFTER)], [(FEBRUARY, MONTH), (AFTER, "1.11")]
    ),
    # told on the 20th, for two seconds before the boundary, for it, and for one second after it; an
    # end of 23:59:59 is what people say who mean midnight, and is refused
    "adv-told-before": Story(
        begun("second_adv"),
        [
            Act("2026-01-20", "cancel", {"mode": "date", "ends_at": BEFORE}, 400),
            canceled("2026-01-20", "date", ends_at="2026-01-31T23:59:58Z"),
        ],
        [(JANUARY, MONTH), ("2026-01-31T23:59:58Z", "-2.00")],
    ),
    "adv-told-exactly": Story(
        begun("second_adv"),
        [canceled("2026-01-20", "date", ends_at=EXACTLY)],
        [(JANUARY, MONTH)],
    ),
    "adv-told-after": Story(
        begun("second_adv"),
        [canceled("2026-01-20", "date", ends_at=AFTER)],
        [(JANUARY, MONTH), (FEBRUARY, MONTH), (AFTER, "-2678398.89")],
    ),
    "adv-told-end": Story(
        begun("second_adv"), [canceled("2026-01-20", "period_end")], [(JANUARY, MONTH)]
    ),
    "arr-told-before": Story(
        begun("second_arr"),
        [canceled("2026-01-20", "date", ends_at="2026-01-31T23:59:58Z")],
        [("2026-01-31T23:59:58Z", "2678398.00")],
    ),
    "arr-told-exactly": Story(
        begun("second_arr"),
        [canceled("2026-01-20", "date", ends_at=EXACTLY)],
        [(EXACTLY, MONTH)],
    ),
    "arr-told-after": Story(
        begun("second_arr"),
        [canceled("2026-01-20", "date", ends_at=AFTER)],
        [(FEBRUARY, MONTH), (AFTER, "1.11")],
    ),
    # without credit, and with all of it
    "adv-none": Story(
        begun("second_adv"), [canceled(BEFORE, settlement="none")], [(JANUARY, MONTH)]
    ),
    "adv-full": Story(
        begun("second_adv"),
        [canceled(BEFORE, settlement="full_credit")],
        [(JANUARY, MONTH), (BEFORE, f"-{MONTH}")],
    ),
    "adv-after-full": Story(
        begun("second_adv"),
        [canceled(AFTER, settlement="full_credit")],
        [(JANUARY, MONTH), (FEBRUARY, MONTH), (AFTER, f"-{MONTH}")],
    ),
    # with the period, taken back until a second before its end, not at it and not after it
    "uncancel-before": Story(
        begun("second_adv"),
        [
            canceled("2026-01-20", "period_end"),
            uncanceled(BEFORE),
            uncanceled(BEFORE, status=409),
            canceled("2026-02-02", "period_end"),
        ],
        [(JANUARY, MONTH), (FEBRUARY, MONTH)],
    ),
    "uncancel-exactly": Story(
        begun("second_adv"),
        [canceled("2026-01-20", "period_end"), uncanceled(EXACTLY, status=409)],
        [(JANUARY, MONTH)],
    ),
    "uncancel-after": Story(
        begun("second_arr"),
        [canceled("2026-01-20", "period_end"), uncanceled(AFTER, status=409)],
        [(EXACTLY, MONTH)],
    ),
}


def test_an_end_a_second_before_a_boundary_at_it_and_after_it() -> None:
    tell(CANCELLATIONS, SECONDS, begins=JANUARY, until="2026-03-02")


LIVES = {
    # 21 of 31 days of January are given back when it pauses; half of February, and March
    "pause-adv": Story(
        begun("basic_adv"),
        [paused("2026-01-11"), change("2026-02-15", "resume")],
        [(JANUARY, "31.00"), ("2026-01-11", "-21.00"), (MARCH, "46.50"), (APRIL, "31.00"),
         (MAY, "31.00")],
    ),
    "pause-arr": Story(
        begun("basic_arr"),
        [paused("2026-01-11"), change("2026-02-15", "resume")],
        [("2026-01-11", "10.00"), (MARCH, "15.50"), (APRIL, "31.00"), (MAY, "31.00")],
    ),
    # to the second: of the 31 days of March 15 and a half are left
    "pause-two-ends": Story(
        begun("basic_adv"),
        [paused("2026-01-11"), change("2026-03-16T12:00:00Z", "resume")],
        [(JANUARY, "31.00"), ("2026-01-11", "-21.00"), (APRIL, "46.50"), (MAY, "31.00")],
    ),
    "pause-none": Story(
        begun("basic_adv"),
        [paused("2026-01-11", "none"), change("2026-02-15", "resume")],
        [(JANUARY, "31.00"), (MARCH, "46.50"), (APRIL, "31.00"), (MAY, "31.00")],
    ),
    "pause-full": Story(
        begun("basic_adv"),
        [paused("2026-01-11", "full_credit"), change("2026-02-15", "resume")],
        [(JANUARY, "31.00"), ("2026-01-11", "-31.00"), (MARCH, "46.50"), (APRIL, "31.00"),
         (MAY, "31.00")],
    ),
    "pause-next": Story(
        begun("basic_adv"),
        [paused("2026-01-11", "next_period"), change("2026-02-15", "resume")],
        [(JANUARY, "31.00"), (MARCH, "46.50"), (APRIL, "31.00"), (MAY, "31.00")],
    ),
    "pause-reset": Story(
        begun("basic_adv"),
        [paused("2026-01-11"), change("2026-02-15", "resume", anchoring="reset")],
        [(JANUARY, "31.00"), ("2026-01-11", "-21.00"), ("2026-02-15", "31.00"),
         ("2026-03-15", "31.00"), ("2026-04-15", "31.00")],
    ),
    # told on 10 April that it began in January: each of four months, or of three that are over, has
    # its bill, at once
    "start-adv": Story(
        begun("basic_adv"), [], [*[("2026-04-10", "31.00")] * 4, (MAY, "31.00")], told="2026-04-10"
    ),
    "start-arr": Story(
        begun("basic_arr"), [], [*[("2026-04-10", "31.00")] * 3, (MAY, "31.00")], told="2026-04-10"
    ),
    # 16 days of January and three months: two more seats are 32.00 and 62.00 each, then May
    "back-seats-adv": Story(
        begun("basic_adv"),
        [change("2026-04-10", "change_quantity", quantity="3", effective_at="2026-01-16T00:00:00Z")],
        [(JANUARY, "31.00"), (FEBRUARY, "31.00"), (MARCH, "31.00"), (APRIL, "31.00"),
         (MAY, "311.00")],
    ),
    # 32 + 62 + 62 for what is over, and 93 for April
    "back-seats-arr": Story(
        begun("basic_arr"),
        [change("2026-04-10", "change_quantity", quantity="3", effective_at="2026-01-16T00:00:00Z")],
        [(FEBRUARY, "31.00"), (MARCH, "31.00"), (APRIL, "31.00"), (MAY, "249.00")],
    ),
    "back-seats-now-adv": Story(
        begun("basic_adv"),
        [change("2026-04-10", "change_quantity", quantity="3", behaviour="invoice_now",
                effective_at="2026-01-16T00:00:00Z")],
        [(JANUARY, "31.00"), (FEBRUARY, "31.00"), (MARCH, "31.00"), (APRIL, "31.00"),
         ("2026-04-10", "218.00"), (MAY, "93.00")],
    ),
    "back-seats-now-arr": Story(
        begun("basic_arr"),
        [change("2026-04-10", "change_quantity", quantity="3", behaviour="invoice_now",
                effective_at="2026-01-16T00:00:00Z")],
        [(FEBRUARY, "31.00"), (MARCH, "31.00"), (APRIL, "31.00"), ("2026-04-10", "156.00"),
         (MAY, "93.00")],
    ),
    # the rest of January stays as it was; three months at 31 more, and May
    "back-plan-none": Story(
        begun("basic_adv"),
        [change("2026-04-10", "change_plan", plan="pro_adv", behaviour="none",
                effective_at="2026-01-16T00:00:00Z")],
        [(JANUARY, "31.00"), (FEBRUARY, "31.00"), (MARCH, "31.00"), (APRIL, "31.00"),
         (MAY, "155.00")],
    ),
    "back-plan-full": Story(
        begun("basic_adv"),
        [change("2026-04-10", "change_plan", plan="pro_adv", behaviour="full_credit",
                effective_at="2026-01-16T00:00:00Z")],
        [(JANUARY, "31.00"), (FEBRUARY, "31.00"), (MARCH, "31.00"), (APRIL, "31.00"),
         (MAY, "186.00")],
    ),
    # 16 days of January, and three months
    "back-cancel": Story(
        begun("basic_adv"),
        [canceled("2026-04-10", "date", ends_at="2026-01-16T00:00:00Z")],
        [(JANUARY, "31.00"), (FEBRUARY, "31.00"), (MARCH, "31.00"), (APRIL, "31.00"),
         ("2026-04-10", "-109.00")],
    ),
    # 16 days of January, February, and ten days of March
    "back-pause": Story(
        begun("basic_adv"),
        [paused("2026-04-10", effective_at="2026-01-16T00:00:00Z"),
         change("2026-04-10", "resume", effective_at="2026-03-11T00:00:00Z")],
        [(JANUARY, "31.00"), (FEBRUARY, "31.00"), (MARCH, "31.00"), (APRIL, "31.00"),
         ("2026-04-10", "-57.00"), (MAY, "31.00")],
    ),
    # 14 days from 20 January, made longer: over the end of January, and of February
    "trial-adv": Story(
        begun("tried_adv", start_date="2026-01-20"),
        [change("2026-01-25", "extend_trial", trial_ends_at="2026-02-10T00:00:00Z")],
        [("2026-02-10", "28.00"), ("2026-03-10", "28.00"), ("2026-04-10", "28.00")],
        told="2026-01-20",
    ),
    "trial-arr": Story(
        begun("tried_arr", start_date="2026-01-20"),
        [change("2026-02-02", "extend_trial", trial_ends_at="2026-03-03T00:00:00Z")],
        [("2026-04-03", "28.00")],
        told="2026-01-20",
    ),
    # 31 January: the last day of shorter months
    "31-arr": Story(
        begun("basic_arr", start_date="2026-01-31"),
        [],
        [("2026-02-28", "31.00"), ("2026-03-31", "31.00"), ("2026-04-30", "31.00")],
        told="2026-01-31",
    ),
    # ten of the 28 days to the end of February are behind the change: 18/28 of 62 - 31, and 62
    "31-adv": Story(
        begun("basic_adv", start_date="2026-01-31"),
        [change("2026-02-10", "change_plan", plan="pro_adv")],
        [("2026-01-31", "31.00"), ("2026-02-28", "81.93"), ("2026-03-31", "62.00"),
         ("2026-04-30", "62.00")],
        told="2026-01-31",
    ),
}  # fmt: skip


def test_pauses_backdating_trials_and_ends_of_months() -> None:
    tell(LIVES, [*PLANS, *TRIALS], begins=JANUARY, until="2026-05-02")


LEAPS = {
    # from 29 February to 28 February of common years, of 365 days each, and to the 29th of 2028
    "year-adv": Story(
        {"plan": "leap_adv", "start_date": "2024-02-29"},
        # 355 of 365 days are left on 10 March 2024
        [change("2024-03-10", "change_quantity", quantity="2")],
        [("2024-02-29", "365.00"), ("2025-02-28", "1085.00"), ("2026-02-28", "730.00"),
         ("2027-02-28", "730.00"), ("2028-02-29", "730.00")],
    ),
    # the year to 29 February 2028 has 366 days: 365 of them at one seat cost 364.00(3), and the last
    # one at two 1.99(5)
    "year-arr": Story(
        {"plan": "leap_arr", "start_date": "2024-02-29"},
        [change("2028-02-28", "change_quantity", quantity="2")],
        [("2025-02-28", "365.00"), ("2026-02-28", "365.00"), ("2027-02-28", "365.00"),
         ("2028-02-29", "365.99")],
    ),
    # from 29 February on the 29th of each month
    "month": Story(
        {"plan": "basic_arr", "start_date": "2024-02-29"},
        [canceled("2024-06-01", "date", ends_at="2024-07-14T00:00:00Z")],
        # 15 of the 30 days from 29 June
        [("2024-03-29", "31.00"), ("2024-04-29", "31.00"), ("2024-05-29", "31.00"),
         ("2024-06-29", "31.00"), ("2024-07-14", "15.50")],
    ),
    # 31 December to 29 February of a leap year, and to the end of it
    "last-day": Story(
        {"plan": "basic_arr", "start_date": "2027-12-31"},
        [],
        [("2028-01-31", "31.00"), ("2028-02-29", "31.00")],
        told="2027-12-31",
    ),
}  # fmt: skip
LEAP_PLANS = [
    seats("leap_adv", "365.00", "yearly", "advance"),
    seats("leap_arr", "365.00", "yearly", "arrears"),
    PLANS[1],
]


def test_the_twenty_ninth_of_february() -> None:
    tell(LEAPS, LEAP_PLANS, begins="2024-02-29", until="2028-03-02")
