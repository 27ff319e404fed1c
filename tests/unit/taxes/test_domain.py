"""Which rates apply, what the tax on an amount is, and which rates make no sense."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from apps.core.ids import new_id
from apps.taxes.domain import (
    Place,
    RateTerms,
    TaxRateInvalid,
    check_end,
    check_rate,
    place_of,
    rates_for,
    tax_on,
)

AT = datetime(2026, 5, 1, tzinfo=UTC)
TICK = timedelta(microseconds=1)


def rate(name: str, **values: Any) -> RateTerms:
    return RateTerms(**{"id": new_id(), "tax": "vat", "name": name, "percentage": 1, **values})


RATES = (
    rate("anywhere"),
    rate("books anywhere", tax_code="book"),
    rate("Germany", country="DE"),
    rate("books in Germany", country="DE", tax_code="book"),
    rate("Texas", tax="state", country="US", region="Texas"),
    rate("Harris", tax="county", country="US", region="texas"),
    rate("GST", tax="gst", country="CA"),
    rate("QST", tax="qst", country="CA", region="Quebec"),
    rate("US", tax="vat", country="US", valid_from=AT, valid_until=AT + timedelta(days=1)),
)


@pytest.mark.parametrize(
    ("country", "region", "code", "names"),
    [
        ("", "", "", ["anywhere"]),
        ("FR", "", "book", ["books anywhere"]),
        ("DE", "", "", ["Germany"]),
        ("DE", "Berlin", "song", ["Germany"]),
        ("DE", "Berlin", "book", ["books in Germany"]),
        ("CA", "", "", ["GST", "anywhere"]),
        ("CA", "QUEBEC", "", ["GST", "QST", "anywhere"]),
        ("US", "Texas", "", ["Harris", "Texas", "US"]),
    ],
)
def test_the_most_specific_rate_of_each_tax_applies(
    country: str, region: str, code: str, names: list[str]
) -> None:
    found = rates_for(RATES, Place(country, region), code, AT)
    assert [one.name for one in found] == names
    assert rates_for(tuple(reversed(RATES)), Place(country, region), code, AT) == found


@pytest.mark.parametrize(
    ("at", "name"),
    [
        (AT - TICK, "anywhere"),
        (AT, "US"),
        (AT + timedelta(days=1) - TICK, "US"),
        (AT + timedelta(days=1), "anywhere"),
    ],
)
def test_a_rate_holds_in_a_half_open_time(at: datetime, name: str) -> None:
    assert [one.name for one in rates_for(RATES, Place("US", ""), "", at)] == [name]


def test_without_rates_there_is_no_tax() -> None:
    assert rates_for((), Place("DE", ""), "", AT) == ()


@pytest.mark.parametrize(
    ("taxable", "percentage", "currency", "tax"),
    [
        ("100.00", "19", "EUR", "19.00"),
        ("0.50", "19", "EUR", "0.10"),  # 0.095
        ("-0.50", "19", "EUR", "-0.10"),
        ("10", "8.875", "JPY", "1"),
        ("10", "5", "JPY", "1"),  # 0.5
        ("1", "0.000001", "KWD", "0.000"),
        ("49.00", "0", "USD", "0.00"),
    ],
)
def test_tax_is_rounded_once_half_up(
    taxable: str, percentage: str, currency: str, tax: str
) -> None:
    assert str(tax_on(Decimal(taxable), Decimal(percentage), currency)) == tax


def test_an_address_is_a_place() -> None:
    assert place_of({"country": "US", "state": "TX", "city": "Austin"}) == Place("US", "TX")
    assert place_of({}) == Place("", "")


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        (("-0.000001", "", ""), ["percentage_range"]),
        (("100.000001", "", ""), ["percentage_range"]),
        (("99999999", "", ""), ["percentage_range"]),
        (("33.3333333", "", ""), ["percentage_precision"]),
        (("1", "XX", ""), ["country_unknown"]),
        (("1", "de", ""), ["country_unknown"]),
        (("1", "", "Texas"), ["country_missing"]),
        (("101", "XX", ""), ["percentage_range", "country_unknown"]),
    ],
)
@pytest.mark.holds("B73")
def test_rates_that_make_no_sense(values: tuple[str, str, str], errors: list[str]) -> None:
    percentage, country, region = values
    with pytest.raises(TaxRateInvalid) as raised:
        check_rate(Decimal(percentage), country, region, None, None)
    assert [one.code for one in raised.value.errors] == errors


@pytest.mark.parametrize("percentage", ["0", "100", "33.333333"])
def test_rates_that_make_sense(percentage: str) -> None:
    check_rate(Decimal(percentage), "US", "Texas", AT, AT + TICK)
    check_end(AT, AT + TICK)
    check_end(None, AT)


def test_a_rate_ends_after_it_begins() -> None:
    with pytest.raises(TaxRateInvalid):
        check_rate(Decimal(1), "", "", AT, AT)
    with pytest.raises(TaxRateInvalid):
        check_end(AT, AT)
