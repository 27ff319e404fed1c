"""Serializer fields and the strict serializer that every input uses."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from itertools import islice
from typing import Any, Final
from uuid import UUID
from zoneinfo import available_timezones

from drf_spectacular.drainage import set_override
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from moneyed import Money
from rest_framework import serializers
from rest_framework.fields import get_attribute

from apps.core import ids
from apps.core.errors import Invalid
from apps.core.money import CURRENCIES, plain, round_money

_NUMBER: Final = re.compile(r"-?[0-9]{1,20}(\.[0-9]{1,12})?")
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_KEY: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]{1,255}")
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9000
_ZONES: Final = frozenset(available_timezones())
_MOST_UNKNOWN: Final = 20  # fields that are answered: a suggestion for each of 100,000 takes long


def unknown_field(name: str, known: Mapping[str, object] | list[str]) -> str:
    """Return the sentence that refuses a field nobody knows."""
    close = get_close_matches(name, list(known), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else f" Known: {', '.join(sorted(known))}."
    return f"Unknown field {name[:64]!r}.{hint}"


class StrictSerializer(serializers.Serializer[Any]):
    """An input whose unknown fields are refused, each with a suggestion."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Return the validated values; raise with every field's errors at once."""
        if not isinstance(data, Mapping):
            raise serializers.ValidationError(
                {"non_field_errors": ["Expected a JSON object."]}, code="json_type"
            )
        known = {name: one for name, one in self.fields.items() if not one.read_only}
        strange = (name for name in data if name not in known)
        unknown = {
            name: [serializers.ErrorDetail(unknown_field(str(name), known), "unknown_field")]
            for name in islice(strange, _MOST_UNKNOWN)
        }
        try:
            values: dict[str, Any] = super().to_internal_value(data)
        except serializers.ValidationError as error:
            if isinstance(error.detail, dict):
                raise serializers.ValidationError({**error.detail, **unknown}) from error
            raise
        if unknown:
            raise serializers.ValidationError(unknown)
        return values


@extend_schema_field(
    {"type": "string", "pattern": r"^-?\d{1,20}(\.\d{1,12})?$", "example": "10.00"}
)
class DecimalField(serializers.Field[Decimal, Any, str, Any]):
    """An exact decimal: a string of digits in, a plain string out, never an exponent."""

    def __init__(
        self, *, minimum: Decimal | None = None, above: Decimal | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.minimum, self.above = minimum, above

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, str | int | Decimal):
            raise serializers.ValidationError(
                'Send a decimal as a string, such as "10.50".', code="number_format"
            )
        text = f"{data:f}" if isinstance(data, Decimal) else str(data)
        if not _NUMBER.fullmatch(text):
            raise serializers.ValidationError(
                f"{text[:64]!r} is not a decimal: up to 20 digits, a point, up to 12 digits.",
                code="number_format",
            )
        number = Decimal(text)
        if self.minimum is not None and number < self.minimum:
            raise serializers.ValidationError(
                f"Must be at least {self.minimum}.", code="number_too_small"
            )
        if self.above is not None and number <= self.above:
            raise serializers.ValidationError(
                f"Must be more than {self.above}.", code="number_too_small"
            )
        return number or Decimal(0)  # never minus zero

    def to_representation(self, value: Decimal) -> str:
        return plain(value)


class AmountField(DecimalField):
    """An amount of a document, written with the decimals of its currency: ``"149.00"``.

    The currency is the Money's own; for a plain decimal, what ``currency`` names beside it.
    """

    def __init__(self, *, currency: str = "currency", **options: Any) -> None:
        super().__init__(**options)
        self.currency = currency

    def get_attribute(self, instance: Any) -> Any:
        value = super().get_attribute(instance)
        if isinstance(value, Decimal):
            return Money(value, get_attribute(instance, self.currency.split(".")))
        return value

    def to_representation(self, value: Money) -> str:  # type: ignore[override]  # an amount is more
        return f"{round_money(value.amount, value.currency.code):f}"


@extend_schema_field(OpenApiTypes.DATETIME)
class InstantField(serializers.Field[datetime, Any, str, Any]):
    """An instant: RFC 3339 with its zone; seconds at most to the microsecond."""

    def to_internal_value(self, data: Any) -> datetime:
        if not isinstance(data, str) or not _INSTANT.fullmatch(data):
            missing = isinstance(data, str) and _INSTANT.fullmatch(data + "Z")
            raise serializers.ValidationError(
                "Add the time zone, such as 2026-05-01T00:00:00Z."
                if missing
                else "Send an instant as RFC 3339 with a zone, such as 2026-05-01T00:00:00Z.",
                code="timestamp_zone_required" if missing else "timestamp_format",
            )
        try:
            instant = datetime.fromisoformat(data.upper())
        except ValueError:
            instant = None
        if instant is None or not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
            raise serializers.ValidationError(
                f"{data[:64]!r} is no instant between {_FIRST_YEAR} and {_LAST_YEAR}.",
                code="timestamp_format",
            )
        return instant.astimezone(UTC)

    def to_representation(self, value: datetime) -> str:
        return instant_text(value)


class BoundaryField(InstantField):
    """The exclusive end of a range; ``23:59:59`` would lose the day's last second."""

    def to_internal_value(self, data: Any) -> datetime:
        instant = super().to_internal_value(data)
        if data[11:19] == "23:59:59":
            raise serializers.ValidationError(
                "Ends are exclusive: use the next day's start, such as"
                f" {instant_text(instant + timedelta(seconds=1))}.",
                code="end_exclusive",
            )
        return instant


def instant_text(value: datetime) -> str:
    """Return an instant as RFC 3339 in UTC with Z."""
    from_utc = value.utcoffset() or timedelta(0)
    return (value - from_utc).replace(tzinfo=None).isoformat() + "Z"


class CurrencyField(serializers.CharField):
    """An ISO 4217 code in capitals."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in CURRENCIES:
            raise serializers.ValidationError(
                f"{str(data)[:64]!r} is no ISO 4217 currency code, such as USD.",
                code="currency_unknown",
            )
        return data


class ZoneField(serializers.CharField):
    """An IANA time zone name."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in _ZONES:
            raise serializers.ValidationError(
                f"{str(data)[:64]!r} is no IANA time zone, such as Europe/Berlin.",
                code="zone_unknown",
            )
        return data


class ObjectField(serializers.Field[Any, Any, str, Any]):
    """The constant ``object`` member of an answer: ``object = ObjectField("customer")``."""

    def __init__(self, name: str) -> None:
        super().__init__(source="*", read_only=True)
        self.name = name
        set_override(self, "field", {"type": "string", "const": name})

    def to_representation(self, value: Any) -> str:
        return self.name


class WholeField(serializers.IntegerField):
    """A whole number: no text, no ``true``, no ``1.0``."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            raise serializers.ValidationError("Send a whole number.", code="number_format")
        return super().to_internal_value(data)


class FlagField(serializers.BooleanField):
    """``true`` or ``false``: no text, no number."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            raise serializers.ValidationError("Send true or false.", code="flag_format")
        return data


class TextField(serializers.CharField):
    """Text of a person: strings only, trimmed, no control characters."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Send a string.", code="string_expected")
        if _CONTROL.search(data):
            raise serializers.ValidationError(
                "Control characters are not allowed.", code="control_character"
            )
        return super().to_internal_value(data)


class LineField(TextField):
    """One line of text: a name, a subject."""

    def to_internal_value(self, data: Any) -> str:
        text = super().to_internal_value(data)
        if "\n" in text or "\t" in text:
            raise serializers.ValidationError("One line only.", code="control_character")
        return text


class KeyField(serializers.CharField):
    """A key that people and programs use in catalogs: ``api_calls``, ``plan-growth``."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or not _KEY.fullmatch(data):
            raise serializers.ValidationError(
                "A key has 1 to 100 of a-z, 0-9, '_', '-', '.', beginning with a letter or digit.",
                code="key_format",
            )
        return data


class ExternalIdField(serializers.CharField):
    """The caller's own id: 1 to 255 printable ASCII characters without spaces."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or not _PRINTABLE.fullmatch(data):
            raise serializers.ValidationError(
                "An external id has 1 to 255 printable ASCII characters and no spaces.",
                code="external_id_format",
            )
        return data


class IdField(serializers.Field[UUID, Any, str, Any]):
    """A TypeID of one kind."""

    def __init__(self, prefix: str, **options: Any) -> None:
        super().__init__(**options)
        self.prefix = prefix
        form = f"^{prefix}_[0-7][0-9a-hjkmnp-tv-z]{{25}}$"
        set_override(self, "field", {"type": "string", "pattern": form})

    def to_internal_value(self, data: Any) -> UUID:
        try:
            return ids.decode(self.prefix, data if isinstance(data, str) else str(data))
        except Invalid as error:
            raise serializers.ValidationError(error.detail, code="id_malformed") from error

    def to_representation(self, value: UUID) -> str:
        return ids.encode(self.prefix, value)


@extend_schema_field(OpenApiTypes.STR)
class NameField(serializers.CharField):
    """The name of an object in a request: its id, or the caller's own id or key for it."""

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or not _PRINTABLE.fullmatch(data):
            raise serializers.ValidationError(
                "Send an id, or the external id or key you gave.", code="id_malformed"
            )
        return data


@extend_schema_field(
    {"type": "object", "additionalProperties": {"type": "string"}, "example": {"crm": "4711"}}
)
class MetadataField(serializers.Field[dict[str, str], Any, dict[str, str], Any]):
    """Up to 50 keys of the caller's own, each with a string of at most 500 characters."""

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, dict) or len(data) > 50:  # noqa: PLR2004
            raise serializers.ValidationError(
                "Send an object of at most 50 keys.", code="metadata_format"
            )
        for key, value in data.items():
            if not 1 <= len(key) <= 40 or not isinstance(value, str) or len(value) > 500:  # noqa: PLR2004
                raise serializers.ValidationError(
                    f"{key[:40]!r}: keys have 1 to 40 characters, values are strings of at most"
                    " 500.",
                    code="metadata_format",
                )
        return data

    def to_representation(self, value: dict[str, str]) -> dict[str, str]:
        return value
