"""Amounts: currencies, the one rounding, the one split. Pure; no Django.

An amount is a ``Decimal`` in major units (12.50 USD is ``Decimal("12.50")``) that goes with a
currency, or both together as ``moneyed.Money``.
"""

from collections.abc import Mapping, Sequence
from decimal import (
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    DivisionByZero,
    FloatOperation,
    Inexact,
    InvalidOperation,
    Overflow,
)
from types import MappingProxyType
from typing import Final

import moneyed

from apps.core.errors import Invalid


class CurrencyUnknown(Invalid):
    """The code is not one of an active ISO 4217 currency, in capital letters."""

    reason = "currency_unknown"


class AmountNotFinite(Invalid):
    """NaN and infinity are not amounts."""

    reason = "amount_not_finite"


class AmountTooLarge(Invalid):
    """The amount has more digits than any book can hold."""

    reason = "amount_too_large"


class AmountTooFine(Invalid):
    """The amount has digits beyond its currency's smallest unit."""

    reason = "currency_precision"


class WeightsUnusable(Invalid):
    """An amount cannot be split by no weights, by weights of zero, or by negative ones."""

    reason = "weights_unusable"


_TRAPS: Final = (InvalidOperation, DivisionByZero, Overflow, FloatOperation)

# For results that may have no exact decimal form: far more digits than any result keeps.
ARITHMETIC: Final = Context(prec=60, rounding=ROUND_HALF_EVEN, traps=list(_TRAPS))
# For sums and products, which always have one: losing a digit is an error, not a rounding.
EXACT: Final = Context(prec=150, rounding=ROUND_HALF_EVEN, traps=[*_TRAPS, Inexact])

# Written out, so that a release of a library can neither withdraw the currency of an issued
# invoice nor change its exponent; tests compare the table with moneyed and with Babel.
_CODES: Final = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: (
        "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD "
        "CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD "
        "GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL "
        "MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN "
        "PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP "
        "SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
}

CURRENCIES: Final[Mapping[str, int]] = MappingProxyType(
    {code: exponent for exponent, codes in _CODES.items() for code in codes.split()}
)
"""Every active ISO 4217 currency that people pay with, and its number of decimals."""

_QUANTUM: Final = {
    code: Decimal(1).scaleb(-exponent, EXACT) for code, exponent in CURRENCIES.items()
}

# Younger than the list in moneyed.
for _code, _numeric, _name in (
    ("XCG", "532", "Caribbean guilder"),
    ("ZWG", "924", "Zimbabwe gold"),
):
    if _code not in moneyed.CURRENCIES:
        moneyed.add_currency(_code, _numeric, sub_unit=100, name=_name)


def exponent(currency: str) -> int:
    """Return the number of decimals of a currency: USD 2, JPY 0, KWD 3.

    Raises ``CurrencyUnknown`` for anything but an active ISO 4217 code in capital letters.
    """
    try:
        return CURRENCIES[currency]
    except KeyError:
        raise CurrencyUnknown(
            f"{currency!r} is not an active ISO 4217 currency code such as USD, EUR or JPY"
        ) from None


def round_money(amount: Decimal, currency: str) -> Decimal:
    """Round an amount half up, away from zero, to the decimals of its currency.

    This is the only rounding of amounts there is. The result has exactly as many decimals as the
    currency, does not depend on the caller's decimal context, and is never minus zero.
    Raises ``CurrencyUnknown``, ``AmountNotFinite`` and ``AmountTooLarge``.
    """
    exponent(currency)
    if not amount.is_finite():
        raise AmountNotFinite(f"{amount} is not an amount")
    try:
        rounded = amount.quantize(_QUANTUM[currency], ROUND_HALF_UP, ARITHMETIC)
    except InvalidOperation:
        raise AmountTooLarge(f"{amount:.3E} is more than any amount can be") from None
    return rounded or rounded.copy_abs()


def fits(amount: Decimal, currency: str) -> bool:
    """Tell whether an amount is finite and has no digits beyond those of its currency."""
    exponent(currency)
    if not amount.is_finite():
        return False
    try:
        return amount.quantize(_QUANTUM[currency], ROUND_HALF_UP, ARITHMETIC) == amount
    except InvalidOperation:
        return False


def money(amount: Decimal, currency: str) -> moneyed.Money:
    """Join an amount and its currency, unrounded. Raises as ``round_money`` does."""
    exponent(currency)
    if not amount.is_finite():
        raise AmountNotFinite(f"{amount} is not an amount")
    return moneyed.Money(amount, currency)


def allocate(total: Decimal, weights: Sequence[Decimal], currency: str) -> list[Decimal]:
    """Split an amount in proportion to weights, losing nothing: the parts add up to ``total``.

    Every part is rounded towards zero to the currency's smallest unit; the units left over go one
    each to the parts that lost most, and among equals to the first. A negative total is split
    like its opposite, and a weight of zero gets zero.
    Raises ``AmountTooFine`` for a total that itself has digits beyond its currency's unit, and
    ``WeightsUnusable`` when a weight is negative or not finite, or when all are zero or absent.
    """
    if not fits(total, currency):
        raise AmountTooFine(f"{total} has more decimals than {currency}")
    if any(not weight.is_finite() or weight < 0 for weight in weights):
        raise WeightsUnusable("a weight is negative or not a number")
    if not any(weights):
        raise WeightsUnusable("there is no weight above zero to split by")
    places = exponent(currency)
    units = int(total.copy_abs().scaleb(places, EXACT))
    finest = min(int(weight.as_tuple().exponent) for weight in weights)
    whole_weights = [int(weight.scaleb(-finest, EXACT)) for weight in weights]
    whole = sum(whole_weights)
    shares = [divmod(units * weight, whole) for weight in whole_weights]
    parts = [share for share, _ in shares]
    by_loss = sorted(range(len(shares)), key=lambda index: -shares[index][1])
    for index in by_loss[: units - sum(parts)]:
        parts[index] += 1
    sign = -1 if total < 0 else 1
    return [Decimal(sign * part).scaleb(-places, EXACT) for part in parts]


def plain(number: Decimal) -> str:
    """Return a number in digits, without an exponent and without zeros at its end."""
    text = f"{number:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
