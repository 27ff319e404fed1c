"""Laws of rounding and of splitting."""

from decimal import Decimal
from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import CURRENCIES, allocate, exponent, fits, round_money

currencies = st.sampled_from(sorted(CURRENCIES))
exact_amounts = st.decimals(-(10**15), 10**15, allow_nan=False, allow_infinity=False, places=14)
weights = st.lists(
    st.decimals(0, 10**6, allow_nan=False, allow_infinity=False, places=6), min_size=1, max_size=12
).filter(any)


@st.composite
def totals(draw: st.DrawFn) -> tuple[Decimal, str]:
    """An amount of a currency, no finer than its unit."""
    currency = draw(currencies)
    units = draw(st.integers(-(10**9), 10**9))
    return Decimal(units).scaleb(-exponent(currency)), currency


@given(exact_amounts, currencies)
@pytest.mark.holds("M2")
def test_rounding_is_half_up_by_integer_arithmetic(amount: Decimal, currency: str) -> None:
    unit = Fraction(1, 10 ** exponent(currency))
    magnitude = floor(abs(Fraction(amount)) / unit + Fraction(1, 2)) * unit
    assert Fraction(round_money(amount, currency)) == (magnitude if amount >= 0 else -magnitude)


@given(exact_amounts, currencies)
def test_rounding_is_odd_idempotent_and_fits(amount: Decimal, currency: str) -> None:
    rounded = round_money(amount, currency)
    assert round_money(-amount, currency) == -rounded
    assert round_money(rounded, currency) == rounded
    assert fits(rounded, currency)
    assert fits(amount, currency) == (amount == rounded)
    assert -int(str(rounded.as_tuple().exponent)) == exponent(currency)


@given(totals(), weights)
@pytest.mark.holds("M3")
def test_a_split_loses_nothing_and_is_nearly_in_proportion(
    total: tuple[Decimal, str], shares: list[Decimal]
) -> None:
    amount, currency = total
    parts = allocate(amount, shares, currency)
    assert sum(parts) == amount
    assert len(parts) == len(shares)
    unit = Fraction(1, 10 ** exponent(currency))
    whole = sum(map(Fraction, shares))
    for part, share in zip(parts, shares, strict=True):
        assert fits(part, currency)
        assert abs(Fraction(part) - Fraction(amount) * Fraction(share) / whole) < unit
        assert share or part == 0


@given(totals(), weights)
def test_a_split_is_odd_and_blind_to_the_scale_of_weights(
    total: tuple[Decimal, str], shares: list[Decimal]
) -> None:
    amount, currency = total
    parts = allocate(amount, shares, currency)
    assert allocate(-amount, shares, currency) == [-part for part in parts]
    assert allocate(amount, [share * 7 for share in shares], currency) == parts


@given(totals(), weights)
def test_the_units_left_over_go_to_the_largest_remainders_the_first_among_equals(
    total: tuple[Decimal, str], shares: list[Decimal]
) -> None:
    amount, currency = total
    scale = 10 ** exponent(currency)
    whole = sum(map(Fraction, shares))
    ideal = [abs(Fraction(amount)) * scale * Fraction(share) / whole for share in shares]
    expected = [floor(part) for part in ideal]
    while sum(expected) < abs(amount) * scale:
        lost = [part - given for part, given in zip(ideal, expected, strict=True)]
        expected[lost.index(max(lost))] += 1
    assert [abs(part) * scale for part in allocate(amount, shares, currency)] == expected
