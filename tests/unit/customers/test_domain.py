"""Addresses."""

import pytest
from babel import Locale

from apps.customers.domain import COUNTRIES, AddressInvalid, check_address


def test_an_address_keeps_the_parts_that_say_something_in_order() -> None:
    given = {"country": "DE", "line1": "Hauptstr. 1", "line2": "", "city": "Berlin"}
    assert list(check_address(given).items()) == [
        ("line1", "Hauptstr. 1"),
        ("city", "Berlin"),
        ("country", "DE"),
    ]
    assert check_address({}) == {}


def test_every_wrong_part_is_named() -> None:
    with pytest.raises(AddressInvalid) as raised:
        check_address({"planet": "Mars", "country": "de"})
    assert [(one.field, one.code) for one in raised.value.errors] == [
        ("address.planet", "unknown_field"),
        ("address.country", "country_unknown"),
    ]


def test_the_countries_are_those_of_the_standard() -> None:
    assert len(COUNTRIES) == 249
    territories = map(str, Locale("en").territories)
    named = {code for code in territories if len(code) == 2 and code.isalpha()}
    # what CLDR has beyond ISO 3166-1: unions, reserved and unknown codes
    assert named - COUNTRIES <= {
        *("AC", "CP", "CQ", "DG", "EA", "EU", "EZ", "IC", "QO", "TA", "UN", "XA", "XB", "XK", "ZZ"),
    }
    assert named >= COUNTRIES
