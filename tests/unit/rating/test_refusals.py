"""What is said to somebody who is refused, word by word: it is all that he has to go by."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from apps.core.errors import FieldError, Invalid
from apps.core.money import AmountNotFinite, money
from apps.rating.documents import Fields
from apps.rating.filters import parse_filters
from apps.rating.periods import (
    Alignment,
    AnchorDayInvalid,
    Cadence,
    CadenceInvalid,
    Unit,
    schedule_for,
)
from apps.rating.pricing import parse_pricing

NUMBER = 'a number is at most 20 digits with at most 12 decimals, such as "1250.5"'
BLOCK = {"block_size": "10", "max_blocks": None, "block_price": "1"}


def read(given: object) -> Fields:
    return Fields({"it": given}, "here")


@pytest.mark.parametrize(
    ("how", "given", "code", "detail"),
    [
        ("number", None, "required", "a number is needed here, not null"),
        ("number", "0." + 13 * "1", "too_many_decimals", "a number has at most 12 decimals"),
        ("number", "1e5", "number_format", NUMBER),
        ("number", 21 * "1", "number_format", NUMBER),
        ("number", True, "invalid_type", "a number is written as a string or an integer"),
        ("number", 1.5, "invalid_type", "a number is written as a string or an integer"),
        ("price", "-1", "amount_negative", "-1 is below zero"),
        ("price", "1000000000001", "amount_too_large", "1000000000001 is more than 10^12"),
        ("quantity", "-1", "quantity_negative", "-1 is below zero"),
        ("size", "0", "not_positive", "0 is not above zero"),
        ("rate", "-1", "rate_out_of_range", "-1 is not from 0 to 100 per cent"),
        ("rate", "100.1", "rate_out_of_range", "100.1 is not from 0 to 100 per cent"),
        ("rate", "0.1234567", "too_many_decimals", "a percentage has at most 6 decimals"),
        ("text", "  ", "invalid_type", "a string with something in it is needed"),
        ("listed", "x", "invalid_type", "a list is needed"),
        ("listed", [], "empty", "the list must not be empty"),
        ("listed", [1] * 10_001, "too_many", "the list has more than 10000 entries"),
    ],
)
def test_a_field_that_cannot_be_read(how: str, given: object, code: str, detail: str) -> None:
    fields = read(given)
    getattr(fields, how)("it")
    assert fields.errors == [FieldError("here.it", code, detail)]


@pytest.mark.parametrize(
    ("how", "given"),
    [
        ("number", "0." + 12 * "1"),
        ("number", 20 * "1"),
        ("price", "0"),
        ("price", "1000000000000"),
        ("quantity", 0),
        ("size", "0.000000000001"),
        ("rate", "0"),
        ("rate", "100"),
        ("rate", "0.123456"),
        ("text", "x"),
        ("listed", [1] * 10_000),
    ],
)
def test_the_last_that_can_be_read(how: str, given: object) -> None:
    fields = read(given)
    found: Any = getattr(fields, how)("it")
    assert fields.errors == []
    assert found == (given if how in {"text", "listed"} else Decimal(str(given)))


def test_a_field_that_is_absent_or_not_asked_for() -> None:
    fields = Fields({"amuont": "1"}, "here")
    assert fields.price("amount") == 0
    fields.close()
    assert fields.errors == [
        FieldError("here.amount", "required", "this field is required"),
        FieldError(
            "here.amuont", "unknown_field", "there is no such field; did you mean 'amount'?"
        ),
    ]
    with pytest.raises(Invalid) as caught:
        fields.refuse()
    assert caught.value.errors == tuple(fields.errors)


def test_what_is_no_object() -> None:
    fields = Fields("x", "here")
    assert fields.text("it") == ""
    assert fields.errors == [FieldError("here", "invalid_type", "an object is needed")]


def test_an_amount_that_is_finer_than_its_currency() -> None:
    fields = read("1.5")
    fields.amount("it", "JPY")
    detail = "1.5 has more decimals than the 0 of JPY"
    assert fields.errors == [FieldError("here.it", "currency_precision", detail)]


@pytest.mark.parametrize(("given", "found"), [("0", 0), ("1.5", 1), ("-3", -3)])
def test_what_is_no_whole_number(given: str, found: int) -> None:
    fields = read(given)
    assert fields.whole("it", least=1) == found
    detail = "a whole number from 1 is needed"
    assert fields.errors == [FieldError("here.it", "not_a_whole_number", detail)]


def test_a_whole_number_and_a_flag_have_defaults() -> None:
    fields = Fields({}, "here")
    assert (fields.whole("it", least=1, default=3), fields.whole("it", least=0, default=0)) == (
        3,
        0,
    )
    assert (fields.flag("on", default=True), fields.flag("off", default=False)) == (True, False)
    assert fields.errors == []
    fields = read("yes")
    assert fields.flag("it", default=True)
    assert fields.errors == [FieldError("here.it", "invalid_type", "true or false is needed")]


def test_a_word_that_is_not_known() -> None:
    fields = Fields({"near": "monht", "far": 70 * "z"}, "here")
    assert fields.choice("near", ["day", "month"]) == ""
    assert fields.choice("far", ["day", "month"]) == ""
    assert fields.errors == [
        FieldError("here.near", "unknown_choice", "'monht' is not known; did you mean 'month'?"),
        FieldError(
            "here.far",
            "unknown_choice",
            f"'{60 * 'z'}' is not known: it is one of day, month",
        ),
    ]


@pytest.mark.parametrize(
    ("condition", "detail"),
    [
        ({"op": "exists", "value": "x"}, "true or false is needed"),
        ({"op": "eq", "value": None}, "a string, a number or a boolean is needed"),
        ({"op": "in", "value": [None]}, "a list of strings, numbers or booleans is needed"),
    ],
)
def test_a_condition_with_a_value_of_another_type(
    condition: dict[str, object], detail: str
) -> None:
    with pytest.raises(Invalid) as caught:
        parse_filters([{"property": "p", **condition}])
    assert caught.value.errors == (FieldError("filters[0].value", "invalid_type", detail),)


def test_conditions_that_are_no_list() -> None:
    with pytest.raises(Invalid) as caught:
        parse_filters({})
    detail = "a list of conditions is needed"
    assert caught.value.errors == (FieldError("filters", "invalid_type", detail),)


@pytest.mark.parametrize(
    ("unit", "day", "detail"),
    [
        (Unit.DAY, 1, "a cadence of days has no anchor day"),
        (Unit.WEEK, 8, "the anchor day of a cadence of weeks is one of 1 to 7, not 8"),
        (Unit.MONTH, 32, "the anchor day of a cadence of months is one of 1 to 31, not 32"),
    ],
)
def test_an_anchor_day_that_does_not_exist(unit: Unit, day: int, detail: str) -> None:
    at = datetime(2026, 3, 15, tzinfo=UTC)
    with pytest.raises(AnchorDayInvalid) as caught:
        schedule_for(at, Cadence(unit), Alignment.ANNIVERSARY, "UTC", day)
    assert (caught.value.detail, caught.value.field) == (detail, "anchor_day")


@pytest.mark.parametrize(
    ("tiers", "detail"),
    [
        ([BLOCK | {"max_blocks": 5}], "the last tier has no limit: null"),
        ([BLOCK, BLOCK], "only the last tier is without a limit"),
    ],
)
def test_tiers_of_blocks_with_a_limit_in_the_wrong_place(tiers: list[object], detail: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_pricing(
            {"model": "tiered_blocks", "policy": "all_tiers", "tiers": tiers}, currency="USD"
        )
    assert [one.detail for one in caught.value.errors] == [detail]


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"dimensions": [1]}, "a dimension is the name of a property"),
        (
            {"prices": [{"values": [1], "unit_price": "1"}]},
            "a value is a string, or null for usage without one",
        ),
        (
            {"prices": 2 * [{"values": ["eu"], "unit_price": "1"}]},
            "prices[0] is for the same values",
        ),
    ],
)
def test_a_matrix_that_cannot_be_read(changed: dict[str, object], detail: str) -> None:
    document = {
        "model": "matrix",
        "dimensions": ["region"],
        "prices": [{"values": ["eu"], "unit_price": "1"}],
        **changed,
    }
    with pytest.raises(Invalid) as caught:
        parse_pricing(document, currency="USD")
    assert [one.detail for one in caught.value.errors] == [detail]


BAND = {"from": "08:00", "to": "18:00", "unit_price": "1"}


@pytest.mark.parametrize(
    ("band", "detail"),
    [
        (BAND, "the bands leave some of the day unpriced"),
        (BAND | {"to": "08:00"}, "a band ends after it begins, perhaps on the next day"),
        (
            BAND | {"to": "25:00"},
            "a time is written from 00:00 to 23:59; 24:00 may end a band",
        ),
    ],
)
def test_bands_of_the_day_that_cannot_be_read(band: dict[str, str], detail: str) -> None:
    document = {"model": "time_of_day", "zone": "UTC", "bands": [band]}
    with pytest.raises(Invalid) as caught:
        parse_pricing(document, currency="USD")
    assert [one.detail for one in caught.value.errors] == [detail]


@pytest.mark.parametrize("count", [0, 1001])
def test_a_cadence_that_is_too_short_or_too_long(count: int) -> None:
    with pytest.raises(CadenceInvalid) as caught:
        Cadence(Unit.MONTH, count)
    assert caught.value.detail == f"a cadence of {count} months is not one of 1 to 1000"


def test_what_is_no_amount() -> None:
    with pytest.raises(AmountNotFinite) as caught:
        money(Decimal("NaN"), "USD")
    assert caught.value.detail == "NaN is not an amount"
