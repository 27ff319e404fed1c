"""What callers send as an event: reading it strictly, one item at a time. Pure.

A bad item is refused by itself, with the field that is to blame; its neighbours are not touched.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from difflib import get_close_matches
from functools import lru_cache
from typing import Final, NoReturn
from uuid import UUID

import msgspec

from apps.core.errors import BillingError
from apps.core.ids import IdMalformed, decode
from apps.core.money import plain
from apps.metering.domain import PRICE_POINT, MeterTerms, SubjectKind
from apps.rating.aggregation import Aggregation
from apps.rating.decimals import is_too_fine, parse_decimal
from apps.rating.filters import matches

MOST_PROPERTIES: Final = 100
MOST_PROPERTY_BYTES: Final = 16_384
LONGEST_NAME: Final = 100
LONGEST_KEY: Final = 255
_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9000

KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
EVENT_NAME: Final = re.compile(r"[\x21-\x7e]{1,100}")
_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?"
    r"([Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_FINER: Final = re.compile(r"(.*\.[0-9]{6})[0-9]+([Zz]|[+-][0-9]{2}:[0-9]{2})")
_DIGITS: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")

_SUBJECTS: Final = {
    "subject": SubjectKind.SUBJECT,
    "customer": SubjectKind.CUSTOMER,
    "customer_id": SubjectKind.CUSTOMER,
    "external_customer_id": SubjectKind.CUSTOMER,
    "subscription": SubjectKind.SUBSCRIPTION,
    "subscription_id": SubjectKind.SUBSCRIPTION,
}
_METER_KEYS: Final = ("meter", "metric_key")
_FIELDS: Final = frozenset(
    {"idempotency_key", "event_name", "timestamp", "value", "properties", *_SUBJECTS, *_METER_KEYS}
)
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number", order="sorted")


class EventRefused(BillingError):
    """An item that is no event: the rest of its batch is."""

    reason = "event_refused"

    def __init__(self, field: str, code: str, detail: str) -> None:
        super().__init__(detail, field=field)
        self.code = code


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that may be stored. ``value`` and ``properties`` are text in plain digits and JSON.

    ``unknown_meter``: there is no meter for it yet.
    """

    id: str
    fingerprint: str
    key: str
    event_name: str
    unknown_meter: bool
    subject_kind: SubjectKind
    subject: str
    occurred_at: str
    value: str | None
    properties: str


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a tenant's meters expect of events: what to check before one is stored.

    ``by_event`` has the newest version of each meter in use, by the name of its events, and
    ``by_key`` that name by the meter's key. Of archived meters only ``archived`` knows.
    """

    stamp: int
    by_event: Mapping[str, Sequence[MeterTerms]]
    by_key: Mapping[str, str]
    archived: frozenset[str]


@dataclass(frozen=True, slots=True)
class Window:
    """The instants at which events may have happened: ``[earliest, latest]``."""

    earliest: datetime
    latest: datetime


class EventReader:
    """Reads the items of one tenant's request, received at one instant."""

    def __init__(
        self, tenant_id: UUID, expected: Expectations, window: Window, *, at: datetime
    ) -> None:
        """Remember against what to check; ``at`` is when events without a time happened."""
        self._salt = hashlib.sha256(tenant_id.bytes)
        self._expected = expected
        self._earliest, self._latest = window.earliest, window.latest
        self._at = at

    def read(self, item: object) -> NewEvent:
        """Return the event in an item; raise ``EventRefused``."""
        if not isinstance(item, dict):
            refuse("", "json_type", "An event is a JSON object.")
        if not item.keys() <= _FIELDS:
            _refuse_unknown(item)
        key = item.get("idempotency_key")
        if not isinstance(key, str) or not KEY.fullmatch(key):
            _refuse_key(key)
        named, event_name, unknown = self._event_name(item)
        kind, subject = _subject(item)
        given_at = item.get("timestamp")
        occurred_at = self._at if given_at is None else read_instant(given_at)
        if not self._earliest <= occurred_at <= self._latest:
            self._refuse_time(occurred_at)
        value = item.get("value")
        if value is not None:
            value = read_value(value, "value")
        properties = item.get("properties")
        encoded = "{}" if not properties else self._encode(properties)
        if not unknown:
            check_fit(self._expected.by_event[event_name], value, properties or {})
        digits = None if value is None else plain(value)
        # nothing in it holds a line break, so that no two payloads are one text
        payload = f"{named}\n{kind}\n{subject}\n{given_at and occurred_at}\n{digits}\n{encoded}"
        identity = self._salt.copy()
        identity.update(key.encode())
        return NewEvent(
            identity.hexdigest()[:32],
            hashlib.sha256(payload.encode()).hexdigest()[:32],
            key,
            event_name,
            unknown,
            kind,
            subject,
            occurred_at.isoformat(),
            digits,
            encoded,
        )

    def _event_name(self, item: Mapping[str, object]) -> tuple[str, str, bool]:
        """Return how the item names it, the name, and whether no meter has it."""
        name = item.get("event_name")
        named = str(name)
        if name is None:
            field = next((one for one in _METER_KEYS if one in item), "event_name")
            key = item.get(field)
            if key is None:
                refuse("event_name", "required", "Say what happened: event_name, or meter.")
            if not isinstance(key, str) or not EVENT_NAME.fullmatch(key):
                _refuse_name(field)
            name, named = self._expected.by_key.get(key, key), f"meter {key}"
        elif any(one in item for one in _METER_KEYS):
            refuse("event_name", "event_ambiguous", "Give event_name or meter, not both.")
        elif not isinstance(name, str) or not EVENT_NAME.fullmatch(name):
            _refuse_name("event_name")
        if name in self._expected.by_event:
            return named, name, False
        if name in self._expected.archived:
            refuse(
                "event_name",
                "meter_archived",
                f"The meter of {name!r} is archived and takes no more events.",
            )
        return named, name, True

    def _encode(self, properties: object) -> str:
        if not isinstance(properties, dict):
            refuse("properties", "json_type", "properties is a JSON object.")
        if len(properties) > MOST_PROPERTIES:
            refuse("properties", "too_many_properties", f"At most {MOST_PROPERTIES} properties.")
        encoded = _ENCODER.encode(properties)
        if len(encoded) > MOST_PROPERTY_BYTES:
            refuse(
                "properties",
                "properties_too_large",
                f"properties may have at most {MOST_PROPERTY_BYTES} bytes as JSON.",
            )
        if len(max(properties, key=len)) > LONGEST_NAME or "" in properties:
            refuse(
                "properties",
                "property_name_length",
                f"The name of a property has 1 to {LONGEST_NAME} characters.",
            )
        point = properties.get(PRICE_POINT)
        if point is not None and not (isinstance(point, str) and EVENT_NAME.fullmatch(point)):
            refuse(
                f"properties.{PRICE_POINT}", "invalid", "A price point is the key of a price list."
            )
        return encoded.decode()

    def _refuse_time(self, occurred_at: datetime) -> NoReturn:
        if occurred_at > self._latest:
            refuse(
                "timestamp", "timestamp_future", f"Events may be dated until {_text(self._latest)}."
            )
        refuse(
            "timestamp",
            "timestamp_too_old",
            f"Events may be dated from {_text(self._earliest)} on.",
        )


def refuse(field: str, code: str, detail: str) -> NoReturn:
    """Raise the refusal of an item."""
    raise EventRefused(field, code, detail)


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
        if instant.tzinfo is not UTC:
            instant = instant.astimezone(UTC)
    except (ValueError, OverflowError):
        instant = None
    if instant is None or not _FIRST_YEAR <= instant.year <= _LAST_YEAR:
        refuse(
            field,
            "timestamp_format",
            f"{given[:64]!r} is no instant between {_FIRST_YEAR} and {_LAST_YEAR}.",
        )
    return instant


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
    refuse(field, "number_format", "A value is a number, as such or as a string.")


def check_fit(
    meters: Iterable[MeterTerms], value: Decimal | None, properties: Mapping[str, object]
) -> None:
    """Raise ``EventRefused`` where a meter that counts the event does not find what it needs."""
    for terms in meters:
        wanted = terms.value_property
        number = parse_decimal(properties.get(wanted)) if wanted else value
        match terms.rule.aggregation:
            case Aggregation.COUNT:
                missing = False
            case Aggregation.UNIQUE_COUNT if wanted:
                missing = properties.get(wanted) is None
            case _:
                missing = number is None
        negative = terms.refuses_negative and number is not None and number < 0
        if (missing or negative) and matches(terms.filters, properties):
            _refuse_value(wanted, properties, negative=negative)


def event_id(tenant_id: UUID, key: str) -> UUID:
    """Return the id of the event with a key: the first 16 bytes of a SHA-256 of both."""
    return UUID(bytes=hashlib.sha256(tenant_id.bytes + key.encode()).digest()[:16])


@lru_cache(maxsize=65_536)
def subject_ids(kind: SubjectKind, name: str) -> tuple[str | None, str | None]:
    """Return the customer's or the subscription's id, in hex, if the name is one."""
    if kind != SubjectKind.CUSTOMER and name.startswith("sub_"):
        return None, _hex("sub", name)
    if kind != SubjectKind.SUBSCRIPTION and name.startswith("cus_"):
        return _hex("cus", name), None
    return None, None


def _hex(prefix: str, name: str) -> str | None:
    try:
        return decode(prefix, name).hex
    except IdMalformed:
        return None


def _subject(item: Mapping[str, object]) -> tuple[SubjectKind, str]:
    fields = [field for field in item if field in _SUBJECTS]
    if len(fields) != 1:
        if not fields:
            refuse("subject", "required", "Say whose usage it is: customer, or subscription.")
        refuse(fields[1], "subject_ambiguous", f"Give {' or '.join(fields)}, not both.")
    name = item[fields[0]]
    if not isinstance(name, str) or not KEY.fullmatch(name):
        refuse(
            fields[0],
            "subject_format",
            "A subject is an id, or an external id of 1 to 255 printable ASCII characters.",
        )
    return _SUBJECTS[fields[0]], name


def _refuse_unknown(item: Mapping[str, object]) -> NoReturn:
    name = next(str(one) for one in item if one not in _FIELDS)
    close = get_close_matches(name[:64], sorted(_FIELDS), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else " Your own data go into properties."
    refuse(name[:64], "unknown_field", f"Unknown field {name[:64]!r}.{hint}")


def _refuse_key(key: object) -> NoReturn:
    if key is None:
        refuse("idempotency_key", "required", "Send an idempotency_key, the same on retries.")
    refuse(
        "idempotency_key",
        "key_format",
        "An idempotency_key has 1 to 255 printable ASCII characters and no spaces.",
    )


def _refuse_name(field: str) -> NoReturn:
    refuse(
        field,
        "name_format",
        f"{field} has 1 to {LONGEST_NAME} printable ASCII characters and no spaces.",
    )


def _refuse_value(wanted: str, properties: Mapping[str, object], *, negative: bool) -> NoReturn:
    field = f"properties.{wanted}" if wanted else "value"
    if negative:
        refuse(field, "value_negative", "This meter takes no negative values.")
    if not wanted:
        refuse(field, "required", "This meter needs a value.")
    if properties.get(wanted) is None:
        refuse(field, "property_missing", f"This meter needs {wanted!r}.")
    refuse(field, "property_missing", f"This meter needs a number in {wanted!r}.")


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


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def window_at(at: datetime, *, max_age: timedelta, max_ahead: timedelta) -> Window:
    """Return when events received at an instant may have happened."""
    return Window(at - max_age, at + max_ahead)


def terms_by_event(versions: Iterable[MeterTerms]) -> dict[str, list[MeterTerms]]:
    """Return versions by the name of the events that they count."""
    found: dict[str, list[MeterTerms]] = {}
    for terms in versions:
        found.setdefault(terms.event_name, []).append(terms)
    return found
