"""How numbers are written."""

from decimal import Decimal

import pytest

from apps.core.money import plain
from apps.rating.decimals import is_too_fine, parse_decimal


@pytest.mark.parametrize(
    ("given", "number"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("-0.00", "0.00"),
        ("007", "7"),
        ("0.000000000001", "0.000000000001"),
        ("12345678901234567890.123456789012", "12345678901234567890.123456789012"),
        ("-1.50", "-1.50"),
        (0, "0"),
        (-3, "-3"),
        (10**20 - 1, "99999999999999999999"),
        (Decimal("0.0001"), "0.0001"),
        (Decimal("1E+3"), "1000"),
    ],
)
def test_numbers(given: object, number: str) -> None:
    assert f"{parse_decimal(given):f}" == number


@pytest.mark.parametrize(
    "given",
    [
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        "1_000",
        "1,000",
        "1.000,00",
        "1e5",
        "1E5",
        "\uff11\uff12",
        "٣",
        ".5",
        "5.",
        "--1",
        "NaN",
        "Infinity",
        "0x10",
        "0.0000000000001",
        "1" * 21,
        10**20,
        -(10**20),
        True,
        False,
        None,
        1.5,
        [],
        {},
        Decimal("NaN"),
        Decimal("Infinity"),
        Decimal("1E+20"),
        Decimal("1E-13"),
        Decimal("1E+999999"),
    ],
)
def test_anything_else_is_no_number(given: object) -> None:
    assert parse_decimal(given) is None


def test_an_int_too_long_to_be_written_is_no_number() -> None:
    assert parse_decimal(10**5000) is None
    assert not is_too_fine(10**5000)


@pytest.mark.parametrize(
    ("given", "is_so"),
    [
        ("0.0000000000001", True),
        (Decimal("1E-13"), True),
        ("-1.1234567890123", True),
        ("0.000000000001", False),
        ("1" * 21 + ".0000000000001", False),
        ("1e-13", False),
        (None, False),
    ],
)
def test_too_many_decimals_are_told_apart(given: object, *, is_so: bool) -> None:
    assert is_too_fine(given) is is_so


@pytest.mark.parametrize(
    ("number", "text"),
    [
        ("0", "0"),
        ("-0.00", "0"),
        ("0E-12", "0"),
        ("1E+6", "1000000"),
        ("100", "100"),
        ("100.00", "100"),
        ("0.000050", "0.00005"),
        ("1E-12", "0.000000000001"),
        ("-2.50", "-2.5"),
    ],
)
def test_plain(number: str, text: str) -> None:
    assert plain(Decimal(number)) == text
