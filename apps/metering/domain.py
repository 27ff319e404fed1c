"""What a meter is, what is asked of it, and what becomes of an event. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias
from uuid import UUID

import msgspec

from apps.core.errors import Conflict, Invalid, NotFound, Unauthenticated
from apps.rating.aggregation import AggregationRule
from apps.rating.filters import Filter, Operator, Scalar
from apps.rating.pricing import Measured, Need, PricingModel

PRICE_POINT: Final = "price_point"
"""The property that names the price list by which an event is priced."""

PRICE: Final = "price"
"""The property that holds an event's own price, for dynamic pricing."""


class MeterNotFound(NotFound):
    reason = "meter_not_found"


class MeterKeyTaken(Conflict):
    reason = "meter_key_taken"


class MeterArchived(Conflict):
    reason = "meter_archived"


class AmendmentAction(StrEnum):
    """What an amendment does to events."""

    VOID = "void"
    REPLACE = "replace"
    BACKFILL = "backfill"
    UNDO = "undo"


class SubjectKind(StrEnum):
    """What the name in an event stands for; ``subject`` is either, a subscription first."""

    SUBJECT = "subject"
    CUSTOMER = "customer"
    SUBSCRIPTION = "subscription"


class OrphanReason(StrEnum):
    """Why an event matched nothing."""

    UNKNOWN_METER = "unknown_meter"
    UNKNOWN_SUBJECT = "unknown_subject"
    OUTSIDE_SUBSCRIPTION = "outside_subscription"
    UNFIT = "unfit"  # its meter, made later, needs a value that it does not have


class OrphanStatus(StrEnum):
    """An orphan waits, or has become a usage event."""

    OPEN = "open"
    ATTACHED = "attached"


ORPHAN_TRANSITIONS: Final[Mapping[OrphanStatus, frozenset[OrphanStatus]]] = {
    OrphanStatus.OPEN: frozenset({OrphanStatus.ATTACHED}),
    OrphanStatus.ATTACHED: frozenset(),
}


@dataclass(frozen=True, slots=True)
class MeterTerms:
    """One version of a meter: which events it counts, and how.

    ``value_property`` "" stands for the event's own value. What a unique count finds in it are
    names, be they in digits: its events are worth nothing by themselves. ``group_by`` names the
    properties by which usage is kept apart. ``refuses_negative``: events below zero are not taken.
    """

    version_id: UUID
    event_name: str
    rule: AggregationRule
    value_property: str
    filters: tuple[Filter, ...]
    group_by: tuple[str, ...]
    refuses_negative: bool = False


@dataclass(frozen=True, slots=True)
class UsageSpan:
    """The instants ``[start, end)`` of a subscription's usage.

    With ``unassigned``, events that name only the customer count too.
    """

    start: datetime
    end: datetime
    unassigned: bool


@dataclass(frozen=True, slots=True)
class UsageRequest:
    """One question: what did a meter version measure in these spans, taken as one period?

    ``number`` tells the requests of one call apart. ``spans`` ascend and do not overlap. Without
    a subscription every event of the customer counts, whatever it names. ``need`` says which part
    of ``Measured`` is wanted besides quantity and count; ``model`` is looked at for bands of the
    day and for the dimensions of groups (without it, they are the meter's own).
    """

    number: int
    tenant_id: UUID
    customer_id: UUID
    subscription_id: UUID | None
    meter_version_id: UUID
    spans: tuple[UsageSpan, ...]
    need: Need | None = None
    model: PricingModel | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """The usage at one price point; "" stands for the events that name none."""

    price_point: str
    measured: Measured


@dataclass(frozen=True, slots=True)
class MeasuredUsage:
    """The answers by request number, and the ``pg_snapshot`` at which all of them hold.

    Every request has an answer for the price point "", be it zero.
    """

    by_request: Mapping[int, tuple[Measurement, ...]]
    snapshot: str


@dataclass(frozen=True, slots=True)
class EventBehind:
    """One event that a measurement counted."""

    key: str
    event_name: str
    subscription_id: UUID | None
    occurred_at: datetime
    received_at: datetime
    value: Decimal | None
    properties: Mapping[str, object]
    seq: int


@dataclass(frozen=True, slots=True)
class Sender:
    """Who sends events, and when they may have happened, relative to the instant of arrival.

    With ``key_id``, events are stored only while that API key is good and the tenant's policy is
    this one. ``has_clocks``: customers may live on test clocks of their own.
    """

    tenant_id: UUID
    max_age: timedelta
    max_ahead: timedelta
    has_clocks: bool
    key_id: UUID | None = None


class SenderChanged(Unauthenticated):
    """The key or the tenant's policy is not what it was; find out anew who sends."""

    reason = "sender_changed"


class ReceiptStatus(StrEnum):
    """What became of an item."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    REJECTED = "rejected"


class Receipt(msgspec.Struct, omit_defaults=True, gc=False):
    """What became of the item at ``index``.

    ``orphan``: it is stored, and waits at the orphan desk for this reason. ``stored`` and ``sent``
    are the hashes of the two payloads that have one key. The last three say why it was rejected.
    """

    index: int
    status: ReceiptStatus
    idempotency_key: str | None = None
    orphan: OrphanReason | None = None
    stored: str | None = None
    sent: str | None = None
    field: str | None = None
    reason: str | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class UsageChange:
    """Usage of a customer changed at ``since`` or later; ``mark`` is what clears this change."""

    since: datetime
    mark: int


MOST_VOIDED: Final = 100_000
MOST_REPLACED: Final = 10_000


class AmendmentInvalid(Invalid):
    """What is to be amended is not there, or what it is to become is no event."""

    reason = "amendment_invalid"


class NothingMatched(Conflict):
    """No event that counts is among those that are asked for."""

    reason = "nothing_matched"


class TooManyMatched(Conflict):
    """Amend a shorter stretch of time, one after the other."""

    reason = "too_many_events"


class AmendmentUndone(Conflict):
    """It has been undone before."""

    reason = "amendment_undone"


class AmendmentOverlaid(Conflict):
    """Events of the amendment were amended again since; that has to be undone first."""

    reason = "amendment_overlaid"


class EventsGone(Conflict):
    """Retention has dropped the events of that time: nothing about them can be reckoned anew."""

    reason = "events_dropped"


@dataclass(frozen=True, slots=True)
class EventSelection:
    """Events that count now: those with ``keys``, or those of ``[start, end)`` that fit the rest.

    Of the rest, what is None or empty selects nothing away. ``told`` is the selection as it was
    asked for, to be kept.
    """

    keys: tuple[str, ...] = ()
    start: datetime | None = None
    end: datetime | None = None
    event_name: str = ""
    customer_id: UUID | None = None
    subscription_id: UUID | None = None
    filters: tuple[Filter, ...] = ()
    told: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EventChange:
    """What is different about an event that takes another's place; None and empty leave it alone.

    The value is ``value``, or what it was times ``factor``. ``properties`` are laid over those
    that it has; None takes one away. ``subject`` is a customer or subscription, by id or name.
    """

    value: Decimal | None = None
    factor: Decimal | None = None
    timestamp: datetime | None = None
    properties: Mapping[str, object] = field(default_factory=dict)
    subject: tuple[SubjectKind, str] | None = None


@dataclass(frozen=True, slots=True)
class Voiding:
    """Let events count no more."""

    selection: EventSelection


@dataclass(frozen=True, slots=True)
class Replacing:
    """Put others in the place of events: all changed alike, or each key in its own way."""

    selection: EventSelection
    change: EventChange = EventChange()
    by_key: Mapping[str, EventChange] = field(default_factory=dict)

    def change_of(self, key: str) -> EventChange:
        """Return what is to be different about the event with a key."""
        return self.by_key.get(key, self.change)


@dataclass(frozen=True, slots=True)
class Backfilling:
    """Bring in events, however old, as callers send them."""

    items: Sequence[object]


@dataclass(frozen=True, slots=True)
class Undoing:
    """Take back what an amendment did to each event."""

    amendment_id: UUID


AmendmentOrder: TypeAlias = Voiding | Replacing | Backfilling | Undoing


@dataclass(frozen=True, slots=True)
class AmendedEvent:
    """What an amendment did to one event: -1 took it out, 1 let it count again, 0 brought it in."""

    sign: int
    key: str
    customer_id: UUID
    subscription_id: UUID | None
    event_name: str
    occurred_at: datetime
    number: int


@dataclass(frozen=True, slots=True)
class MoneyDelta:
    """By how much what a subscription is charged for a period differs; ``amount`` in ``currency``.

    ``is_billed``: the period has been billed; the difference becomes a correction.
    """

    customer_id: UUID
    subscription_id: UUID
    period_start: datetime
    period_end: datetime
    currency: str
    amount: Decimal
    is_billed: bool


@dataclass(frozen=True, slots=True)
class AmendmentPreview:
    """What an amendment would do, to events and to money."""

    action: AmendmentAction
    voided: int
    restored: int
    added: int
    customers: int
    since: datetime | None
    until: datetime | None
    deltas: tuple[MoneyDelta, ...]

    @property
    def totals(self) -> Mapping[str, Decimal]:
        """The differences summed by currency."""
        found: dict[str, Decimal] = {}
        for one in self.deltas:
            found[one.currency] = found.get(one.currency, Decimal(0)) + one.amount
        return dict(sorted(found.items()))


def filters_document(filters: Iterable[Filter]) -> list[dict[str, object]]:
    """Return filters for storing: a number is ``{"number": digits}``, so that it stays exact.

    The database function ``metering_matches`` reads this form.
    """
    return [
        {"property": one.property, "op": str(one.op), "value": _stored(one.value)}
        for one in filters
    ]


def read_filters(document: Iterable[Mapping[str, object]]) -> tuple[Filter, ...]:
    """Return the filters that ``filters_document`` stored."""
    return tuple(
        Filter(str(one["property"]), Operator(str(one["op"])), _restored(one["value"]))
        for one in document
    )


def _stored(value: Scalar | tuple[Scalar, ...]) -> object:
    match value:
        case tuple():
            return [_stored(one) for one in value]
        case Decimal():
            return {"number": f"{value:f}"}
        case _:
            return value


def _restored(stored: object) -> Scalar | tuple[Scalar, ...]:
    match stored:
        case list():
            return tuple(_restored_scalar(one) for one in stored)
        case _:
            return _restored_scalar(stored)


def _restored_scalar(stored: object) -> Scalar:
    match stored:
        case {"number": str() as digits}:
            return Decimal(digits)
        case str() | bool():
            return stored
        case _:
            raise ValueError(f"{stored!r} is no stored filter value")
