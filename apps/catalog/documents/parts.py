"""The small parts of documents: keys, lines of text, periods, bounds. Pure.

Each returns what can be gone on with, and notes what is wrong.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Final, TypeVar

from apps.catalog.domain import ChargeKind, Timing
from apps.core.money import CURRENCIES
from apps.rating.documents import Fields
from apps.rating.periods import Cadence, CadenceInvalid, Unit
from apps.rating.proration import Basis

BILLING_PERIODS: Final[Mapping[str, Cadence]] = {
    "daily": Cadence(Unit.DAY),
    "weekly": Cadence(Unit.WEEK),
    "monthly": Cadence(Unit.MONTH),
    "quarterly": Cadence(Unit.MONTH, 3),
    "half_yearly": Cadence(Unit.MONTH, 6),
    "yearly": Cadence(Unit.YEAR),
}
"""The words for common periods; every other one is ``{"unit", "count"}``."""

_MOST_MONTHS: Final = 1200
_KEY: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_SHOWN: Final = 64
_MOST_METADATA: Final = 50
_LONGEST_METADATA: Final = (40, 500)
_FIRST_CONTROL_FREE: Final = 32
_Word = TypeVar("_Word", bound=str)


def taken(fields: Fields, name: str, value: str) -> str:
    fields.take(name, required=False)
    return value


def key_at(fields: Fields, name: str) -> str:
    """Return a key, or an empty string with a noted problem."""
    given = fields.take(name)
    if isinstance(given, str) and _KEY.fullmatch(given):
        return given
    if fields.gives(name):
        fields.note(
            name,
            "key_format",
            f"{str(given)[:_SHOWN]!r} is no key: 1 to 100 of a-z, 0-9, '_', '-', '.', beginning"
            " with a letter or digit",
        )
    return ""


def line_at(fields: Fields, name: str, *, default: str, longest: int = 200) -> str:
    """Return a text, trimmed; the default where it is absent."""
    if not fields.gives(name):
        return taken(fields, name, default)
    given = fields.take(name)
    if not isinstance(given, str):
        fields.note(name, "invalid_type", "a string is needed")
        return default
    text = given.strip()
    if len(text) > longest or (not text and default):
        fields.note(name, "text_length", f"a text of 1 to {longest} characters is needed")
        return default
    if any(ord(char) < _FIRST_CONTROL_FREE and char != "\n" for char in text):
        fields.note(name, "control_character", "control characters are not allowed")
        return default
    return text


def word_at(fields: Fields, name: str, words: Iterable[_Word], default: _Word | None) -> str:
    """Return one of several words; the default where it is absent, if there is one."""
    if default is not None and not fields.gives(name):
        return taken(fields, name, default)
    return fields.choice(name, words) or default or ""


def currency_at(fields: Fields, name: str) -> str:
    """Return a currency, or an empty string with a noted problem."""
    given = fields.take(name)
    if isinstance(given, str) and given in CURRENCIES:
        return given
    fields.note(
        name, "currency_unknown", f"{str(given)[:_SHOWN]!r} is no ISO 4217 currency, such as USD"
    )
    return ""


def cadence_at(fields: Fields, name: str) -> Cadence | None:
    """Return a period, written as a word or as ``{"unit", "count"}``; None if it is absent."""
    given = fields.take(name, required=False)
    if given is None:
        return None
    if isinstance(given, str):
        if given not in BILLING_PERIODS:
            fields.note(
                name,
                "unknown_choice",
                f"{given[:_SHOWN]!r} is not one of {', '.join(BILLING_PERIODS)}; other periods"
                ' are written {"unit": "month", "count": 2}',
            )
        return BILLING_PERIODS.get(given)
    inner = Fields(given, f"{fields.path}.{name}", fields.errors)
    if not inner.readable:
        return None
    before = len(fields.errors)
    unit = inner.choice("unit", Unit)
    count = inner.whole("count", least=1, default=1)
    inner.close()
    if len(fields.errors) > before:
        return None
    try:
        cadence = Cadence(Unit(unit), count)
    except CadenceInvalid as error:
        inner.note("count", error.reason, error.detail)
        return None
    if cadence.months() > _MOST_MONTHS:
        inner.note("count", CadenceInvalid.reason, "a period lasts at most a hundred years")
    return cadence


def timing_at(fields: Fields, kind: ChargeKind) -> Timing:
    expected = Timing.ARREARS if kind is ChargeKind.USAGE else Timing.ADVANCE
    timing = Timing(word_at(fields, "timing", Timing, expected))
    if timing is not expected and kind is not ChargeKind.RECURRING:
        fields.note("timing", "timing_mismatch", f"a {kind} charge is billed in {expected}")
    return timing


def proration_at(fields: Fields) -> Basis | None:
    """Return the basis of proration; None where it is absent or null, which is the tenant's."""
    if not fields.has("proration"):
        fields.take("proration", required=False)
        return None
    given = fields.choice("proration", Basis)
    return Basis(given) if given else None


def bound_at(fields: Fields, name: str, currency: str | None, kind: ChargeKind) -> Decimal | None:
    if not currency or not fields.has(name):
        fields.take(name, required=False)
        return None
    if kind is not ChargeKind.USAGE:
        fields.note(name, "only_for_usage", "only usage charges have it")
    return fields.amount(name, currency)


def metadata_at(fields: Fields) -> dict[str, str]:
    given = fields.take("metadata", required=False)
    if given is None:
        return {}
    longest_key, longest = _LONGEST_METADATA
    if (
        isinstance(given, dict)
        and len(given) <= _MOST_METADATA
        and all(
            isinstance(key, str)
            and 1 <= len(key) <= longest_key
            and isinstance(value, str)
            and len(value) <= longest
            for key, value in given.items()
        )
    ):
        return dict(given)
    fields.note(
        "metadata",
        "metadata_format",
        f"an object of at most {_MOST_METADATA} keys of 1 to {longest_key} characters, with strings"
        f" of at most {longest}",
    )
    return {}
