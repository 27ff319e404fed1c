"""Reading one item after another: whatever is wrong with it is said."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, NoReturn

from apps.metering.intake.expectations import Expectations, check_fit
from apps.metering.intake.fields import (
    ENCODER,
    EVENT_NAME,
    KEY,
    check_properties,
    read_digits,
    read_instant,
    refuse_key,
    refuse_name,
    refuse_subject,
)
from apps.metering.intake.refusals import refuse
from apps.metering.intake.shapes import shape_of

_FIRST_YEAR: Final = 1970
_LAST_YEAR: Final = 9000
EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)  # PostgreSQL's
MICROSECOND: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """The instants at which events may have happened: ``[earliest, latest]``."""

    earliest: datetime
    latest: datetime


def window_at(at: datetime, *, max_age: timedelta, max_ahead: timedelta) -> Window:
    """Return when events received at an instant may have happened."""
    return Window(at - max_age, at + max_ahead)


class Row(NamedTuple):
    """An event that may be stored, as far as its item says.

    ``told`` is what the item called it, and ``name`` the event name that this stands for.
    ``occurred_at`` counts microseconds since 2000; it is the time of arrival unless ``is_timed``.
    ``value`` is in plain digits, ``properties`` is JSON.
    """

    key: str
    told: str
    name: str
    kind: str
    subject: str
    occurred_at: int
    is_timed: bool
    value: str | None
    properties: bytes


def read_item(item: object, expected: Expectations, window: Window, *, at: datetime) -> Row:
    """Return what an item says; raise ``EventRefused``."""
    if not isinstance(item, dict):
        refuse("", "json_type", "An event is a JSON object.")
    shape = shape_of(item)
    get = item.get
    key = get("idempotency_key")
    if not isinstance(key, str) or not KEY.fullmatch(key):
        refuse_key(key)
    told = item[shape.name_field]
    if not isinstance(told, str):
        refuse_name(shape.name_field, told)
    name = expected.by_key.get(told, told) if shape.name_kind else told
    unknown = name not in expected.by_event
    if unknown:
        _check_name(shape.name_field, told, name, expected)
    subject = item[shape.subject_field]
    if not isinstance(subject, str) or not KEY.fullmatch(subject):
        refuse_subject(shape.subject_field, subject)
    timestamp = get("timestamp")
    occurred_at = at if timestamp is None else read_instant(timestamp)
    if not window.earliest <= occurred_at <= window.latest:
        _refuse_time(occurred_at, window)
    value = get("value")
    digits = None if value is None else read_digits(value)
    properties = get("properties")
    encoded = b"{}" if properties is None else _encode(properties)
    if not unknown and (digits is None or name not in expected.undemanding):
        check_fit(expected.by_event[name], digits, properties or {})
    return Row(
        key,
        shape.name_kind + told,
        name,
        shape.kind,
        subject,
        (occurred_at - EPOCH) // MICROSECOND,
        timestamp is not None,
        digits,
        encoded,
    )


def _encode(properties: object) -> bytes:
    if not isinstance(properties, Mapping):
        refuse("properties", "json_type", "properties is a JSON object.")
    encoded = ENCODER.encode(properties)
    check_properties(properties, encoded)
    return encoded


def _check_name(field: str, told: str, name: str, expected: Expectations) -> None:
    """Raise unless the name may become that of a meter one day."""
    if not EVENT_NAME.fullmatch(told):
        refuse_name(field, told)
    if name in expected.archived:
        refuse(
            field,
            "meter_archived",
            f"The meter of {told!r} is archived and takes no more events.",
        )


def _refuse_time(occurred_at: datetime, window: Window) -> NoReturn:
    if not _FIRST_YEAR <= occurred_at.year <= _LAST_YEAR:
        refuse(
            "timestamp",
            "timestamp_format",
            f"Instants lie between {_FIRST_YEAR} and {_LAST_YEAR}.",
        )
    if occurred_at > window.latest:
        refuse(
            "timestamp", "timestamp_future", f"Events may be dated until {_text(window.latest)}."
        )
    refuse(
        "timestamp",
        "timestamp_too_old",
        f"Events may be dated from {_text(window.earliest)} on.",
    )


def _text(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
