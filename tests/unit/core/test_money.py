"""Currencies, the one rounding and the one split, by example."""

from collections.abc import Callable
from decimal import Context, Decimal, localcontext

import moneyed
import pytest
from babel.core import get_global

from apps.core.errors import Invalid
from apps.core.money import (
    ARITHMETIC,
    CURRENCIES,
    EXACT,
    AmountNotFinite,
    AmountTooFine,
    AmountTooLarge,
    CurrencyUnknown,
    WeightsUnusable,
    allocate,
    exponent,
    fits,
    money,
    round_money,
)

D = Decimal


def decimals(*texts: str) -> list[Decimal]:
    return [Decimal(text) for text in texts]


@pytest.mark.holds("M4")
def test_exponents_agree_with_moneyed_for_every_currency() -> None:
    assert {code: moneyed.get_currency(code).sub_unit for code in CURRENCIES} == {
        code: 10**places for code, places in CURRENCIES.items()
    }


def test_currencies_are_those_that_some_country_uses_today() -> None:
    in_use = {
        code
        for entries in get_global("territory_currencies").values()
        for code, _start, end, tender in entries
        if end is None and tender
    }
    # El Salvador's and Venezuela's second currencies are listed by ISO 4217; Bulgaria has the euro
    # since 2026.
    assert set(CURRENCIES) - in_use == {"SVC", "VED"}
    assert in_use - set(CURRENCIES) <= {"BGN"}


@pytest.mark.parametrize(
    ("currency", "places"),
    [("USD", 2), ("EUR", 2), ("JPY", 0), ("ISK", 0), ("UGX", 0), ("KWD", 3), ("BHD", 3)],
)
def test_exponent(currency: str, places: int) -> None:
    assert exponent(currency) == places


@pytest.mark.parametrize(
    "code",
    [
        "usd",
        "US",
        "XXX",
        "XTS",
        "XAU",
        "BTC",
        "EUR ",
        "",
        "DEM",
        "HRK",
        "USDT",
        "\uff35\uff33\uff24",
    ],
)
def test_anything_but_an_active_code_is_unknown(code: str) -> None:
    with pytest.raises(CurrencyUnknown) as caught:
        exponent(code)
    assert isinstance(caught.value, Invalid)
    assert caught.value.reason == "currency_unknown"


@pytest.mark.parametrize(
    ("amount", "currency", "rounded"),
    [
        ("0.125", "USD", "0.13"),
        ("-0.125", "USD", "-0.13"),
        ("0.135", "USD", "0.14"),
        ("0.1249999999999", "USD", "0.12"),
        ("0.005", "USD", "0.01"),
        ("0.004999999999999999999999999999999999", "USD", "0.00"),
        ("-0.004", "USD", "0.00"),
        ("100", "USD", "100.00"),
        ("1E+3", "USD", "1000.00"),
        ("0.5", "JPY", "1"),
        ("0.49", "JPY", "0"),
        ("2.5", "JPY", "3"),
        ("-2.5", "JPY", "-3"),
        ("0.0005", "KWD", "0.001"),
        ("1.2344999", "KWD", "1.234"),
    ],
)
@pytest.mark.holds("M2", "F68")
def test_round_money(amount: str, currency: str, rounded: str) -> None:
    assert str(round_money(D(amount), currency)) == rounded


def test_round_money_does_not_depend_on_the_context_of_the_caller() -> None:
    with localcontext(Context(prec=3)):
        assert str(round_money(D("123456789.125"), "USD")) == "123456789.13"


@pytest.mark.parametrize("amount", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_what_is_not_finite_is_no_amount(amount: str) -> None:
    with pytest.raises(AmountNotFinite):
        round_money(D(amount), "USD")
    with pytest.raises(AmountNotFinite):
        money(D(amount), "USD")
    assert not fits(D(amount), "USD")


def test_an_amount_beyond_all_digits_is_too_large() -> None:
    assert round_money(D("9" * 58), "USD") == D("9" * 58)
    with pytest.raises(AmountTooLarge):
        round_money(D("9" * 59), "USD")
    assert not fits(D("9" * 59), "USD")


def test_an_unknown_currency_is_refused_everywhere() -> None:
    for refused in (
        lambda: round_money(D(1), "XXX"),
        lambda: fits(D(1), "XXX"),
        lambda: money(D(1), "XXX"),
        lambda: allocate(D(1), [D(1)], "XXX"),
    ):
        with pytest.raises(CurrencyUnknown):
            refused()


@pytest.mark.parametrize(
    ("amount", "currency", "does"),
    [
        ("49.00", "USD", True),
        ("49.000", "USD", True),
        ("49.001", "USD", False),
        ("-0.01", "USD", True),
        ("1.5", "JPY", False),
        ("1.0", "JPY", True),
        ("1E+2", "JPY", True),
        ("0.001", "KWD", True),
        ("0.0001", "KWD", False),
    ],
)
def test_fits(amount: str, currency: str, *, does: bool) -> None:
    assert fits(D(amount), currency) is does


def test_money_joins_without_rounding() -> None:
    assert money(D("1.005"), "KWD") == moneyed.Money("1.005", "KWD")
    assert money(D("1.23456"), "USD").amount == D("1.23456")


@pytest.mark.parametrize("code", ["XCG", "ZWG"])
def test_currencies_younger_than_moneyed_are_known_to_it(code: str) -> None:
    assert money(D(1), code).currency.code == code


@pytest.mark.parametrize(
    ("total", "weights", "currency", "parts"),
    [
        ("100.00", ["1", "1", "1"], "USD", ["33.34", "33.33", "33.33"]),
        ("0.05", ["1", "1"], "USD", ["0.03", "0.02"]),
        ("0.01", ["1", "1", "1"], "USD", ["0.01", "0.00", "0.00"]),
        ("0.02", ["1", "2", "2"], "USD", ["0.00", "0.01", "0.01"]),
        ("-100.00", ["1", "1", "1"], "USD", ["-33.34", "-33.33", "-33.33"]),
        ("10", ["1", "2"], "JPY", ["3", "7"]),
        ("1.000", ["1", "1", "1"], "KWD", ["0.334", "0.333", "0.333"]),
        ("10.00", ["0", "1", "0"], "USD", ["0.00", "10.00", "0.00"]),
        ("0.00", ["3", "1"], "USD", ["0.00", "0.00"]),
        ("7.00", ["0.5", "0.25", "0.25"], "USD", ["3.50", "1.75", "1.75"]),
        ("9.99", ["1E+3", "2E+3"], "USD", ["3.33", "6.66"]),
        ("5.00", ["12.3456"], "USD", ["5.00"]),
    ],
)
@pytest.mark.holds("M3")
def test_allocate(total: str, weights: list[str], currency: str, parts: list[str]) -> None:
    split = allocate(D(total), decimals(*weights), currency)
    assert [str(part) for part in split] == parts


@pytest.mark.parametrize("weights", [[], ["0", "0"], ["1", "-1"], ["NaN"], ["Infinity", "1"]])
def test_allocate_refuses_weights_that_say_nothing(weights: list[str]) -> None:
    with pytest.raises(WeightsUnusable):
        allocate(D("1.00"), decimals(*weights), "USD")


def test_allocate_does_not_depend_on_the_context() -> None:
    with localcontext(Context(prec=3)):
        parts = allocate(D("12345.67"), [D("1.2345678"), D("2.4691356")], "USD")
    assert parts == [D("4115.22"), D("8230.45")]


@pytest.mark.parametrize(
    ("refused", "detail"),
    [
        (lambda: round_money(D("NaN"), "USD"), "NaN is not an amount"),
        (lambda: round_money(D("1e80"), "USD"), "1.000E+80 is more than any amount can be"),
        (lambda: allocate(D("0.001"), [D(1)], "USD"), "0.001 has more decimals than USD"),
        (lambda: allocate(D(1), [D(-1)], "USD"), "a weight is negative or not a number"),
        (lambda: allocate(D(1), [D(0)], "USD"), "there is no weight above zero to split by"),
    ],
)
def test_who_is_refused_is_told_why(refused: Callable[[], object], detail: str) -> None:
    with pytest.raises(Invalid) as caught:
        refused()
    assert caught.value.detail == detail


def test_allocate_refuses_a_total_finer_than_the_currency() -> None:
    with pytest.raises(AmountTooFine) as caught:
        allocate(D("1.001"), decimals("1"), "USD")
    assert caught.value.reason == "currency_precision"


def test_the_contexts_trap_what_must_not_happen_quietly() -> None:
    for context in (ARITHMETIC, EXACT):
        assert {trap.__name__ for trap, is_on in context.traps.items() if is_on} >= {
            "InvalidOperation",
            "DivisionByZero",
            "Overflow",
            "FloatOperation",
        }
    assert ARITHMETIC.prec == 60
    assert EXACT.prec > 120
    assert [trap.__name__ for trap, is_on in EXACT.traps.items() if is_on].count("Inexact") == 1
