"""Reading JSON objects strictly, and noting every problem instead of stopping at the first. Pure."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from typing import Final

from apps.core.errors import FieldError, Invalid
from apps.core.money import EXACT, exponent, fits
from apps.rating.decimals import is_too_fine, parse_decimal

_ZERO: Final = Decimal(0)
_HUNDRED: Final = Decimal(100)
_LARGEST_AMOUNT: Final = Decimal(10) ** 12
_RATE_DECIMALS: Final = 6
_MOST_ROWS: Final = 10_000
_SHOWN: Final = 60


class Fields:
    """One object of a document: its fields are taken one by one, and each problem is noted.

    A field that cannot be read gives zero, or whatever is harmless, and a noted problem: what was
    read is used only if, at the end, ``errors`` is empty. All objects of a document share the list.
    """

    def __init__(self, document: object, path: str, errors: list[FieldError] | None = None) -> None:
        self.path = path
        self.errors = [] if errors is None else errors
        self._asked: list[str] = []
        self._given: Mapping[object, object] = {}
        if isinstance(document, Mapping):
            self._given = document
            self.readable = True
        else:
            self.errors.append(FieldError(path, "invalid_type", "an object is needed"))
            self.readable = False

    def note(self, key: str, code: str, detail: str) -> None:
        """Note a problem of one field, or of the object itself where ``key`` is empty."""
        self.errors.append(FieldError(f"{self.path}.{key}" if key else self.path, code, detail))

    def take(self, key: str, *, required: bool = True) -> object:
        """Return what a field holds, as it is, or None; note that it is absent if it may not be."""
        self._asked.append(key)
        if key not in self._given:
            if required and self.readable:
                self.note(key, "required", "this field is required")
            return None
        return self._given[key]

    def gives(self, key: str) -> bool:
        """Tell whether a field was given, be it as null."""
        return key in self._given

    def has(self, key: str) -> bool:
        """Tell whether a field was given, and is not null."""
        return self._given.get(key) is not None

    def close(self) -> None:
        """Note the fields that nobody asked for, each with the name that was probably meant."""
        for key in self._given:
            if key not in self._asked:
                name = str(key)[:_SHOWN]
                self.note(
                    name, "unknown_field", f"there is no such field{meant(name, self._asked)}"
                )

    def refuse(self) -> None:
        """Raise ``Invalid`` with all problems noted so far, if there are any."""
        if self.errors:
            raise Invalid(errors=self.errors)

    def number(self, key: str, *, default: Decimal | None = None) -> Decimal | None:
        """Return a field's number; without one the default, or None with a noted problem."""
        given = self.take(key, required=default is None)
        if given is None and default is not None:
            return default
        if given is None:
            if key in self._given:
                self.note(key, "required", "a number is needed here, not null")
            return None
        number = parse_decimal(given)
        if number is not None:
            return number
        if is_too_fine(given):
            self.note(key, "too_many_decimals", "a number has at most 12 decimals")
        elif isinstance(given, str | int | Decimal) and not isinstance(given, bool):
            self.note(
                key,
                "number_format",
                'a number is at most 20 digits with at most 12 decimals, such as "1250.5"',
            )
        else:
            self.note(key, "invalid_type", "a number is written as a string or an integer")
        return None

    def price(self, key: str, *, default: Decimal | None = None) -> Decimal:
        """Return a price from 0 to 10¹², with up to 12 decimals."""
        number = self.number(key, default=default)
        if number is None:
            return _ZERO
        if number < 0:
            self.note(key, "amount_negative", f"{number} is below zero")
        elif number > _LARGEST_AMOUNT:
            self.note(key, "amount_too_large", f"{number} is more than 10^12")
        return number

    def amount(self, key: str, currency: str, *, default: Decimal | None = None) -> Decimal:
        """Return a price that can be paid as it is: no finer than the currency's unit."""
        number = self.price(key, default=default)
        if not fits(number, currency):
            self.note(
                key,
                "currency_precision",
                f"{number} has more decimals than the {exponent(currency)} of {currency}",
            )
        return number

    def optional_price(self, key: str) -> Decimal | None:
        """Return a price, or None where the field is absent or null."""
        if self.has(key):
            return self.price(key)
        self.take(key, required=False)
        return None

    def quantity(self, key: str, *, default: Decimal | None = None) -> Decimal:
        """Return a quantity, zero or above."""
        number = self.number(key, default=default)
        if number is None:
            return _ZERO
        if number < 0:
            self.note(key, "quantity_negative", f"{number} is below zero")
        return number

    def size(self, key: str) -> Decimal:
        """Return a quantity above zero."""
        number = self.number(key)
        if number is None:
            return Decimal(1)
        if number <= 0:
            self.note(key, "not_positive", f"{number} is not above zero")
        return number

    def rate(self, key: str) -> Decimal:
        """Return a percentage from 0 to 100, with up to 6 decimals."""
        number = self.number(key)
        if number is None:
            return _ZERO
        if not 0 <= number <= _HUNDRED:
            self.note(key, "rate_out_of_range", f"{number} is not from 0 to 100 per cent")
        elif number.scaleb(_RATE_DECIMALS, EXACT) % 1:
            self.note(key, "too_many_decimals", "a percentage has at most 6 decimals")
        return number

    def whole(self, key: str, *, least: int, default: int | None = None) -> int:
        """Return a whole number, ``least`` or above."""
        number = self.number(key, default=None if default is None else Decimal(default))
        if number is None:
            return least
        if number % 1 or number < least:
            self.note(key, "not_a_whole_number", f"a whole number from {least} is needed")
        return int(number)

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false, the default where the field is absent."""
        if key not in self._given:
            self._asked.append(key)
            return default
        given = self.take(key)
        if not isinstance(given, bool):
            self.note(key, "invalid_type", "true or false is needed")
            return default
        return given

    def text(self, key: str) -> str:
        """Return a string with something in it."""
        given = self.take(key)
        if isinstance(given, str) and given.strip():
            return given
        if key in self._given:
            self.note(key, "invalid_type", "a string with something in it is needed")
        return ""

    def choice(self, key: str, choices: Iterable[str]) -> str:
        """Return one of several words, or an empty string with a noted problem."""
        words = tuple(map(str, choices))
        given = self.text(key)
        if given and given not in words:
            offer = meant(given, words) or f": it is one of {', '.join(words)}"
            self.note(key, "unknown_choice", f"{given[:_SHOWN]!r} is not known{offer}")
            return ""
        return given

    def listed(self, key: str) -> list[object]:
        """Return a list with something in it."""
        given = self.take(key)
        if not isinstance(given, list | tuple):
            if key in self._given:
                self.note(key, "invalid_type", "a list is needed")
            return []
        if not given:
            self.note(key, "empty", "the list must not be empty")
        if len(given) > _MOST_ROWS:
            self.note(key, "too_many", f"the list has more than {_MOST_ROWS} entries")
            return []
        return list(given)

    def rows(self, key: str) -> "list[Fields]":
        """Return the objects of a list with something in it."""
        return [
            Fields(row, f"{self.path}.{key}[{index}]", self.errors)
            for index, row in enumerate(self.listed(key))
        ]


def meant(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean …?" with the known word that comes nearest, or nothing."""
    nearest = get_close_matches(name[:_SHOWN], list(known), n=1)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
