"""The single fields of an event: what may be in each, and what is said where it is not."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Final, NoReturn

import msgspec

from apps.core.money import plain
from apps.metering.domain import PRICE_POINT
from apps.metering.intake.refusals import EventRefused, refuse
from apps.rating.decimals import is_too_fine, parse_decimal

MOST_PROPERTIES: Final = 100
MOST_PROPERTY_BYTES: Final = 16_384
LONGEST_NAME: Final = 100
LONGEST_KEY: Final = 255

KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
EVENT_NAME: Final = re.compile(r"[\x21-\x7e]{1,100}")
ENCODER: Final = msgspec.json.Encoder(decimal_format="number", order="sorted")
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_FINER: Final = re.compile(r"(.*\.[0-9]{6})[0-9]+([Zz]|[+-][0-9]{2}:[0-9]{2})")
_PLAIN: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{0,11}[1-9])?")
_DIGITS: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")


def check_properties(properties: Mapping[str, object], encoded: bytes) -> None:
    """Raise ``EventRefused`` for too many, too large or badly named properties."""
    if len(properties) > MOST_PROPERTIES:
        refuse("properties", "too_many_properties", f"At most {MOST_PROPERTIES} properties.")
    if len(encoded) > MOST_PROPERTY_BYTES:
        refuse(
            "properties",
            "properties_too_large",
            f"properties may have at most {MOST_PROPERTY_BYTES} bytes as JSON.",
        )
    # what is shorter as a whole has no name that is too long
    if "" in properties or (
        len(encoded) > LONGEST_NAME and max(map(len, properties)) > LONGEST_NAME
    ):
        refuse(
            "properties",
            "property_name_length",
            f"The name of a property has 1 to {LONGEST_NAME} characters.",
        )
    point = properties.get(PRICE_POINT)
    if point is not None and not (isinstance(point, str) and EVENT_NAME.fullmatch(point)):
        refuse(f"properties.{PRICE_POINT}", "invalid", "A price point is the key of a price list.")


def read_instant(given: object, field: str = "timestamp") -> datetime:
    """Return an instant in UTC from RFC 3339 with a zone; raise ``EventRefused``."""
    if not isinstance(given, str):
        refuse(
            field,
            "timestamp_format",
            "Send an instant as RFC 3339 text with a zone, such as 2026-05-01T00:00:00Z;"
            " seconds since 1970 are not taken.",
        )
    if not _INSTANT.fullmatch(given):
        _refuse_instant(given, field)
    try:
        instant = datetime.fromisoformat(given.upper())
        return instant if instant.tzinfo is UTC else instant.astimezone(UTC)
    except (ValueError, OverflowError):
        refuse(field, "timestamp_format", f"{given[:64]!r} is no instant that there is.")


def read_digits(given: object, field: str = "value") -> str:
    """Return a number in plain digits; raise ``EventRefused`` as ``read_value`` does."""
    if isinstance(given, str) and _PLAIN.fullmatch(given) and given != "-0":
        return given
    return plain(read_value(given, field))


def read_value(given: object, field: str) -> Decimal:
    """Return a number with at most 20 digits and 12 decimals; raise ``EventRefused``."""
    value = parse_decimal(given)
    if value is not None:
        return value
    if is_too_fine(given):
        refuse(field, "too_many_decimals", "A value has at most 12 decimals.")
    text = f"{given:f}" if isinstance(given, Decimal) else str(given)
    if isinstance(given, str | int | Decimal) and not isinstance(given, bool):
        if _DIGITS.fullmatch(text):
            refuse(field, "value_out_of_range", "A value has at most 20 digits before the point.")
        refuse(
            field,
            "number_format",
            f'{text[:64]!r} is not a number in digits, such as "1250.5".',
        )
    raise EventRefused(field, "number_format", "A value is a number, as such or as a string.")


def refuse_subject(field: str, given: object) -> NoReturn:
    """Raise the refusal of what should name a customer or a subscription."""
    if given is None:
        refuse("subject", "required", "Say whose usage it is: customer, or subscription.")
    refuse(
        field,
        "subject_format",
        "A subject is an id, or an external id of 1 to 255 printable ASCII characters.",
    )


def refuse_name(field: str, given: object) -> NoReturn:
    """Raise the refusal of what should name an event or a meter."""
    if given is None:
        refuse(field, "required", "Say what happened: event_name, or meter.")
    refuse(
        field,
        "name_format",
        f"{field} has 1 to {LONGEST_NAME} printable ASCII characters and no spaces.",
    )


def refuse_key(key: object) -> NoReturn:
    """Raise the refusal of what should be an idempotency key."""
    if key is None:
        refuse("idempotency_key", "required", "Send an idempotency_key, the same on retries.")
    refuse(
        "idempotency_key",
        "key_format",
        "An idempotency_key has 1 to 255 printable ASCII characters and no spaces.",
    )


def _refuse_instant(given: str, field: str) -> NoReturn:
    if _INSTANT.fullmatch(given + "Z"):
        refuse(
            field,
            "timestamp_zone_required",
            "Add the time zone, such as 2026-05-01T00:00:00Z.",
        )
    if _FINER.fullmatch(given):
        refuse(field, "timestamp_precision", "Instants are kept to the microsecond.")
    refuse(
        field,
        "timestamp_format",
        f"{given[:64]!r} is not RFC 3339 with a zone, such as 2026-05-01T00:00:00Z.",
    )
