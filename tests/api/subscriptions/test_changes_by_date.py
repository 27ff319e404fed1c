"""Changes of the plan and of seats by date: what each costs on which day, reckoned by hand.

A month of January costs 31.00 for a seat, which is 1.00 a day, or 62.00, 2.00 a day; a year costs
730.00, 2.00 a day. What was asked on 11 January at midnight leaves ten days behind it, and 21 of the
month, or 355 of the year, before it.
"""

import pytest

from tests.make.stories import PLANS, Story, change, rows, tell

pytestmark = pytest.mark.django_db(transaction=True)

# A change to another plan of the same month. Documents of 1 and 11 January, 1 February and 1 March;
# "-" where there is none. The old terms and the new share January; whatever is in advance is paid
# on the first, what is in arrears when it is over.
WITHIN_THE_MONTH = """
basic_adv pro_adv prorate      31.00  -        83.00   62.00   # 42 - 21 + 62
basic_adv pro_adv invoice_now  31.00  21.00    62.00   62.00   # 42 - 21
basic_adv pro_adv none         31.00  -        62.00   62.00
basic_adv pro_adv next_period  31.00  -        62.00   62.00
basic_adv pro_adv full_credit  31.00  -        93.00   62.00   # 62 - 31 + 62
basic_adv pro_arr prorate      31.00  -        21.00   62.00   # 42 - 21
basic_adv pro_arr invoice_now  31.00  -21.00   42.00   62.00   # what is in arrears is not due yet
basic_adv pro_arr none         31.00  -        -       62.00
basic_adv pro_arr next_period  31.00  -        -       62.00
basic_adv pro_arr full_credit  31.00  -        31.00   62.00   # 62 - 31
basic_arr pro_adv prorate      -      -       114.00   62.00   # 10 + 42 + 62
basic_arr pro_adv invoice_now  -      52.00    62.00   62.00   # 10 + 42
basic_arr pro_adv none         -      -        93.00   62.00   # 31 + 62
basic_arr pro_adv next_period  -      -        93.00   62.00
basic_arr pro_adv full_credit  -      -       124.00   62.00   # 62 + 62
basic_arr pro_arr prorate      -      -        52.00   62.00   # 10 + 42
basic_arr pro_arr invoice_now  -      10.00    42.00   62.00
basic_arr pro_arr none         -      -        31.00   62.00
basic_arr pro_arr next_period  -      -        31.00   62.00
basic_arr pro_arr full_credit  -      -        62.00   62.00
pro_adv basic_adv prorate      62.00  -        10.00   31.00   # 21 - 42 + 31
pro_adv basic_adv invoice_now  62.00  -21.00   31.00   31.00   # 21 - 42
pro_adv basic_adv none         62.00  -        31.00   31.00
pro_adv basic_adv next_period  62.00  -        31.00   31.00
pro_adv basic_adv full_credit  62.00  -         0.00   31.00   # 31 - 62 + 31
pro_adv basic_arr prorate      62.00  -       -21.00   31.00   # 21 - 42
pro_adv basic_arr invoice_now  62.00  -42.00   21.00   31.00
pro_adv basic_arr none         62.00  -        -       31.00
pro_adv basic_arr next_period  62.00  -        -       31.00
pro_adv basic_arr full_credit  62.00  -       -31.00   31.00   # 31 - 62
pro_arr basic_adv prorate      -      -        72.00   31.00   # 20 + 21 + 31
pro_arr basic_adv invoice_now  -      41.00    31.00   31.00   # 20 + 21
pro_arr basic_adv none         -      -        93.00   31.00   # 62 + 31
pro_arr basic_adv next_period  -      -        93.00   31.00
pro_arr basic_adv full_credit  -      -        62.00   31.00   # 31 + 31
pro_arr basic_arr prorate      -      -        41.00   31.00   # 20 + 21
pro_arr basic_arr invoice_now  -      20.00    21.00   31.00
pro_arr basic_arr none         -      -        62.00   31.00
pro_arr basic_arr next_period  -      -        62.00   31.00
pro_arr basic_arr full_credit  -      -        31.00   31.00
"""

# Two seats and five, of 1.00 a day each; the same days.
SEATS = """
adv 2 5 prorate       62.00  -       218.00  155.00   # 105 - 42 + 155
adv 2 5 invoice_now   62.00  63.00   155.00  155.00
adv 2 5 none          62.00  -       155.00  155.00
adv 2 5 next_period   62.00  -       155.00  155.00
adv 2 5 full_credit   62.00  -       248.00  155.00   # 155 - 62 + 155
adv 5 2 prorate      155.00  -        -1.00   62.00   # 42 - 105 + 62
adv 5 2 invoice_now  155.00 -63.00    62.00   62.00
adv 5 2 none         155.00  -        62.00   62.00
adv 5 2 next_period  155.00  -        62.00   62.00
adv 5 2 full_credit  155.00  -       -31.00   62.00   # 62 - 155 + 62
arr 2 5 prorate      -       -       125.00  155.00   # 20 + 105
arr 2 5 invoice_now  -       20.00   105.00  155.00
arr 2 5 none         -       -        62.00  155.00
arr 2 5 next_period  -       -        62.00  155.00
arr 2 5 full_credit  -       -       155.00  155.00
arr 5 2 prorate      -       -        92.00   62.00   # 50 + 42
arr 5 2 invoice_now  -       50.00    42.00   62.00
arr 5 2 none         -       -       155.00   62.00
arr 5 2 next_period  -       -       155.00   62.00
arr 5 2 full_credit  -       -        62.00   62.00
"""

# From months to years and back. With the change new periods begin, on 11 January, or when the old
# one is over; so the old one ends there, and what it comes to is billed there too. Documents by
# their days; "11th" stands for the 11th of each month from February 2026 to February 2027.
BETWEEN_MONTHS_AND_YEARS = """
basic_adv year_adv prorate      2026-01-01=31.00  2026-01-11=709.00  2027-01-11=730.00   # 730 - 21
basic_adv year_adv invoice_now  2026-01-01=31.00  2026-01-11=709.00  2027-01-11=730.00
basic_adv year_adv none         2026-01-01=31.00  2026-02-01=730.00  2027-02-01=730.00
basic_adv year_adv next_period  2026-01-01=31.00  2026-02-01=730.00  2027-02-01=730.00
basic_adv year_adv full_credit  2026-01-01=31.00  2026-01-11=699.00  2027-01-11=730.00   # 730 - 31
basic_adv year_arr prorate      2026-01-01=31.00  2026-01-11=-21.00  2027-01-11=730.00
basic_adv year_arr invoice_now  2026-01-01=31.00  2026-01-11=-21.00  2027-01-11=730.00
basic_adv year_arr none         2026-01-01=31.00  2027-02-01=730.00
basic_adv year_arr next_period  2026-01-01=31.00  2027-02-01=730.00
basic_adv year_arr full_credit  2026-01-01=31.00  2026-01-11=-31.00  2027-01-11=730.00
basic_arr year_adv prorate      2026-01-11=740.00  2027-01-11=730.00   # 10 + 730
basic_arr year_adv invoice_now  2026-01-11=740.00  2027-01-11=730.00
basic_arr year_adv none         2026-02-01=761.00  2027-02-01=730.00   # 31 + 730
basic_arr year_adv next_period  2026-02-01=761.00  2027-02-01=730.00
basic_arr year_adv full_credit  2026-01-11=730.00  2027-01-11=730.00
basic_arr year_arr prorate      2026-01-11=10.00   2027-01-11=730.00
basic_arr year_arr invoice_now  2026-01-11=10.00   2027-01-11=730.00
basic_arr year_arr none         2026-02-01=31.00   2027-02-01=730.00
basic_arr year_arr next_period  2026-02-01=31.00   2027-02-01=730.00
basic_arr year_arr full_credit  2027-01-11=730.00
year_adv basic_adv prorate      2026-01-01=730.00  2026-01-11=-679.00  11th=31.00   # 31 - 710
year_adv basic_adv invoice_now  2026-01-01=730.00  2026-01-11=-679.00  11th=31.00
year_adv basic_adv none         2026-01-01=730.00  2027-01-01=31.00  2027-02-01=31.00
year_adv basic_adv next_period  2026-01-01=730.00  2027-01-01=31.00  2027-02-01=31.00
year_adv basic_adv full_credit  2026-01-01=730.00  2026-01-11=-699.00  11th=31.00   # 31 - 730
year_adv basic_arr prorate      2026-01-01=730.00  2026-01-11=-710.00  11th=31.00
year_adv basic_arr invoice_now  2026-01-01=730.00  2026-01-11=-710.00  11th=31.00
year_adv basic_arr none         2026-01-01=730.00  2027-02-01=31.00
year_adv basic_arr next_period  2026-01-01=730.00  2027-02-01=31.00
year_adv basic_arr full_credit  2026-01-01=730.00  2026-01-11=-730.00  11th=31.00
year_arr basic_adv prorate      2026-01-11=51.00   11th=31.00   # 20 + 31
year_arr basic_adv invoice_now  2026-01-11=51.00   11th=31.00
year_arr basic_adv none         2027-01-01=761.00  2027-02-01=31.00   # 730 + 31
year_arr basic_adv next_period  2027-01-01=761.00  2027-02-01=31.00
year_arr basic_adv full_credit  2026-01-11=31.00   11th=31.00
year_arr basic_arr prorate      2026-01-11=20.00   11th=31.00
year_arr basic_arr invoice_now  2026-01-11=20.00   11th=31.00
year_arr basic_arr none         2027-01-01=730.00  2027-02-01=31.00
year_arr basic_arr next_period  2027-01-01=730.00  2027-02-01=31.00
year_arr basic_arr full_credit  11th=31.00
"""

_DAYS = ("2026-01-01", "2026-01-11", "2026-02-01", "2026-03-01")
_ELEVENTHS = (*(f"2026-{month:02}-11" for month in range(2, 13)), "2027-01-11", "2027-02-11")


def on_days(totals: list[str]) -> list[tuple[str, str]]:
    return [(day, total) for day, total in zip(_DAYS, totals, strict=True) if total != "-"]


def by_day(shown: list[str]) -> list[tuple[str, str]]:
    pairs = [one.split("=") for one in shown]
    return [(day, total) for at, total in pairs for day in (_ELEVENTHS if at == "11th" else [at])]


def to_another(was: str, to: str, behaviour: str, documents: list[tuple[str, str]]) -> Story:
    begun = {"plan": was, "start_date": "2026-01-01"}
    return Story(
        begun, [change("2026-01-11", "change_plan", plan=to, behaviour=behaviour)], documents
    )


def to_so_many(timing: str, was: str, to: str, behaviour: str, totals: list[str]) -> Story:
    begun = {"plan": f"basic_{timing}", "start_date": "2026-01-01", "quantity": was}
    asked = change("2026-01-11", "change_quantity", quantity=to, behaviour=behaviour)
    return Story(begun, [asked], on_days(totals))


def test_another_plan_and_other_seats_within_the_month() -> None:
    stories = {
        f"{was}-{to}-{behaviour}": to_another(was, to, behaviour, on_days(totals))
        for was, to, behaviour, *totals in rows(WITHIN_THE_MONTH)
    } | {
        f"{timing}-{was}-{to}-{behaviour}": to_so_many(timing, was, to, behaviour, totals)
        for timing, was, to, behaviour, *totals in rows(SEATS)
    }
    assert len(stories) == 40 + 20
    tell(stories, PLANS, begins="2026-01-01", until="2026-03-02")


def test_from_months_to_years_and_back() -> None:
    stories = {
        f"{was}-{to}-{behaviour}": to_another(was, to, behaviour, by_day(shown))
        for was, to, behaviour, *shown in rows(BETWEEN_MONTHS_AND_YEARS)
    }
    assert len(stories) == 2 * 4 * 5
    tell(stories, PLANS, begins="2026-01-01", until="2027-02-12")
