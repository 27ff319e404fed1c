"""Decimals as callers write them and as documents show them. Pure."""

import re
from decimal import Decimal
from typing import Final

_DIGITS: Final = 20
_DECIMALS: Final = 12

_FORM: Final = re.compile(rf"-?[0-9]{{1,{_DIGITS}}}(\.[0-9]{{1,{_DECIMALS}}})?")
_TOO_FINE: Final = re.compile(rf"-?[0-9]{{1,{_DIGITS}}}\.[0-9]{{{_DECIMALS + 1},}}")


def parse_decimal(given: object) -> Decimal | None:
    """Read a number as a caller may write it, or return None.

    A number is a string of at most 20 ASCII digits and at most 12 decimals, an int, or the Decimal
    of a parsed JSON number within the same limits; never a bool, a float or any other notation.
    """
    text = _text(given)
    if text is None or not _FORM.fullmatch(text):
        return None
    number = Decimal(text)
    return number or number.copy_abs()


def is_too_fine(given: object) -> bool:
    """Tell whether something is refused as a number for its more than 12 decimals alone."""
    text = _text(given)
    return text is not None and _TOO_FINE.fullmatch(text) is not None


def _text(given: object) -> str | None:
    match given:
        case bool():
            return None
        case str():
            return given
        # never spell out a number of a million digits only to find it too long
        case int() if abs(given) < 10**_DIGITS:
            return str(given)
        case Decimal() if given.is_finite() and given.adjusted() < _DIGITS:
            return f"{given:f}"
        case _:
            return None
