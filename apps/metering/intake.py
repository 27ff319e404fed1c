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
from typing import Final, NamedTuple, NoReturn
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
_PLAIN: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,19})(?:\.[0-9]{0,11}[1-9])?")
_DIGITS: Final = re.compile(r"-?[0-9]+(\.[0-9]+)?")

_SUBJECTS: Final = {
    "subject": SubjectKind.SUBJECT,
    "customer": SubjectKind.CUSTOMER,
    "customer_id": SubjectKind.CUSTOMER,
    "external_customer_id": SubjectKind.CUSTOMER,
    "subscription": SubjectKind.SUBSCRIPTION,
    "subscription_id": SubjectKind.SUBSCRIPTION,
}
_NAMES: Final = {"event_name": "", "meter": "meter ", "metric_key": "meter "}
_FIELDS: Final = frozenset(
    {"idempotency_key", "timestamp", "value", "properties", *_SUBJECTS, *_NAMES}
)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's
_MICROSECOND: Final = timedelta(microseconds=1)
_HASH_BYTES: Final = 16
_ENCODER: Final = msgspec.json.Encoder(decimal_format="number", order="sorted")


class EventRefused(BillingError):
    """An item that is no event: the rest of its batch is."""

    reason = "event_refused"

    def __init__(self, field: str, code: str, detail: str) -> None:
        super().__init__(detail, field=field)
        self.code = code


class NewEvent(msgspec.Struct, frozen=True, gc=False):
    """An event that may be stored, in the form in which it is sent to the database.

    ``aim`` is its event name, whether no meter has that yet, and the kind and the name of its
    subject. ``occurred_at`` counts microseconds since 2000, ``value`` is in plain digits,
    ``properties`` is JSON.
    """

    id: bytes
    fingerprint: bytes
    key: str
    aim: tuple[str, bool, str, str]
    occurred_at: int
    value: str | None
    properties: bytes


@dataclass(frozen=True, slots=True)
class Expectations:
    """What a tenant's meters expect of events: what to check before one is stored.

    ``by_event`` has the newest version of each meter in use, by the name of its events, and
    ``by_key`` that name by the meter's key. For ``undemanding`` events any value will do. Of
    archived meters only ``archived`` knows.
    """

    stamp: int
    by_event: Mapping[str, Sequence[MeterTerms]]
    undemanding: frozenset[str]
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
        shape = _SHAPES.get(tuple(item)) or _shape_of(item)
        subject_field, kind, name_field, name_kind = shape
        get = item.get
        key = get("idempotency_key")
        if not isinstance(key, str) or not KEY.fullmatch(key):
            _refuse_key(key)
        event_name = name = item[name_field]
        expected = self._expected
        if not isinstance(name, str):
            _refuse_name(name_field, name)
        if name_kind:
            event_name = expected.by_key.get(name, name)
        unknown = event_name not in expected.by_event
        if unknown:
            self._check_name(name_field, name, event_name)
        subject = item[subject_field]
        if not isinstance(subject, str) or not KEY.fullmatch(subject):
            _refuse_subject(subject_field, subject)
        given_at = get("timestamp")
        occurred_at = self._at if given_at is None else read_instant(given_at)
        if not self._earliest <= occurred_at <= self._latest:
            self._refuse_time(occurred_at)
        micros = (occurred_at - _EPOCH) // _MICROSECOND
        value = get("value")
        digits = None if value is None else read_digits(value, "value")
        properties = get("properties")
        encoded = b"{}" if properties is None else _encode(properties)
        if not unknown and (digits is None or event_name not in expected.undemanding):
            check_fit(expected.by_event[event_name], digits, properties or {})
        # nothing in it holds a line break, so that no two payloads are one text
        payload = f"{name_kind}{name}\n{kind}\n{subject}\n{given_at and micros}\n{digits}\n"
        identity = self._salt.copy()
        identity.update(key.encode())
        return NewEvent(
            identity.digest()[:_HASH_BYTES],
            hashlib.sha256(payload.encode() + encoded).digest()[:_HASH_BYTES],
            key,
            (event_name, unknown, kind, subject),
            micros,
            digits,
            encoded,
        )

    def _check_name(self, field: str, given: str, event_name: str) -> None:
        """Raise unless the name may become that of a meter one day."""
        if not EVENT_NAME.fullmatch(given):
            _refuse_name(field, given)
        if event_name in self._expected.archived:
            refuse(
                field,
                "meter_archived",
                f"The meter of {given!r} is archived and takes no more events.",
            )

    def _refuse_time(self, occurred_at: datetime) -> NoReturn:
        if not _FIRST_YEAR <= occurred_at.year <= _LAST_YEAR:
            refuse(
                "timestamp",
                "timestamp_format",
                f"Instants lie between {_FIRST_YEAR} and {_LAST_YEAR}.",
            )
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


def _encode(properties: object) -> bytes:
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
    return encoded


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


def read_digits(given: object, field: str) -> str:
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
    refuse(field, "number_format", "A value is a number, as such or as a string.")


def check_fit(
    meters: Iterable[MeterTerms], digits: str | None, properties: Mapping[str, object]
) -> None:
    """Raise ``EventRefused`` where a meter that counts the event does not find what it needs."""
    for terms in meters:
        wanted = terms.value_property
        number = digits
        if wanted:
            found = parse_decimal(properties.get(wanted))
            number = None if found is None else plain(found)
        match terms.rule.aggregation:
            case Aggregation.COUNT:
                missing = False
            case Aggregation.UNIQUE_COUNT if wanted:
                missing = properties.get(wanted) is None
            case _:
                missing = number is None
        negative = terms.refuses_negative and number is not None and number.startswith("-")
        if (missing or negative) and matches(terms.filters, properties):
            _refuse_value(wanted, properties, negative=negative)


def is_undemanding(meters: Iterable[MeterTerms]) -> bool:
    """Tell whether events with a value fit all the meters, whatever the value."""
    return all(not terms.value_property and not terms.refuses_negative for terms in meters)


def event_id(tenant_id: UUID, key: str) -> UUID:
    """Return the id of the event with a key: the first 16 bytes of a SHA-256 of both."""
    return UUID(bytes=hashlib.sha256(tenant_id.bytes + key.encode()).digest()[:16])


@lru_cache(maxsize=65_536)
def subject_ids(kind: str, name: str) -> tuple[UUID | None, UUID | None]:
    """Return the customer's or the subscription's id if the name is one."""
    if kind != SubjectKind.CUSTOMER and name.startswith("sub_"):
        return None, _decoded("sub", name)
    if kind != SubjectKind.SUBSCRIPTION and name.startswith("cus_"):
        return _decoded("cus", name), None
    return None, None


def _decoded(prefix: str, name: str) -> UUID | None:
    try:
        return decode(prefix, name)
    except IdMalformed:
        return None


class _Shape(NamedTuple):
    """Which fields of an item say whose usage it is and what happened.

    ``name_kind`` is put before a meter's key, so that it is not taken for an event name.
    """

    subject_field: str
    kind: str  # no member of the enumeration: hashing one runs Python code
    name_field: str
    name_kind: str


# the items of a caller have the same fields in the same order; each shape is checked once
_SHAPES: Final[dict[tuple[str, ...], _Shape]] = {}
_MOST_SHAPES: Final = 1_000


def _shape_of(item: Mapping[str, object]) -> _Shape:
    """Return the shape of an item; raise ``EventRefused`` for fields unknown or too many."""
    if not item.keys() <= _FIELDS:
        _refuse_unknown(item)
    given = [field for field, value in item.items() if value is not None]
    subjects = [field for field in given if field in _SUBJECTS]
    names = [field for field in given if field in _NAMES]
    if not subjects:
        refuse("subject", "required", "Say whose usage it is: customer, or subscription.")
    if len(subjects) > 1:
        refuse(subjects[1], "subject_ambiguous", f"Give {' or '.join(subjects)}, not both.")
    if not names:
        refuse("event_name", "required", "Say what happened: event_name, or meter.")
    if len(names) > 1:
        refuse(names[1], "event_ambiguous", f"Give {' or '.join(names)}, not both.")
    kind = _SUBJECTS[subjects[0]].value
    shape = _Shape(subjects[0], kind, names[0], _NAMES[names[0]])
    if len(given) == len(item) and len(_SHAPES) < _MOST_SHAPES:
        _SHAPES[tuple(item)] = shape
    return shape


def _refuse_subject(field: str, given: object) -> NoReturn:
    if given is None:
        refuse("subject", "required", "Say whose usage it is: customer, or subscription.")
    refuse(
        field,
        "subject_format",
        "A subject is an id, or an external id of 1 to 255 printable ASCII characters.",
    )


def _refuse_unknown(item: Mapping[str, object]) -> NoReturn:
    name = next(str(one) for one in item if one not in _FIELDS)
    close = get_close_matches(name[:64], sorted(_FIELDS), n=1)
    hint = f" Did you mean {close[0]!r}?" if close else " Your own data go into properties."
    refuse(name[:64], "unknown_field", f"Unknown field {name[:64]!r}.{hint}")


def _refuse_name(field: str, given: object) -> NoReturn:
    if given is None:
        refuse(field, "required", "Say what happened: event_name, or meter.")
    refuse(
        field,
        "name_format",
        f"{field} has 1 to {LONGEST_NAME} printable ASCII characters and no spaces.",
    )


def _refuse_key(key: object) -> NoReturn:
    if key is None:
        refuse("idempotency_key", "required", "Send an idempotency_key, the same on retries.")
    refuse(
        "idempotency_key",
        "key_format",
        "An idempotency_key has 1 to 255 printable ASCII characters and no spaces.",
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
