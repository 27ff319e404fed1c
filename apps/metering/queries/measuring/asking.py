"""What is asked for: which pieces of time, and from where each is read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, IntFlag
from typing import Any, Final
from uuid import UUID

from apps.metering.domain import MeterNotFound, MeterTerms, UsageRequest
from apps.metering.queries.meters import meter_terms
from apps.rating.aggregation import ROLLED_UP, Aggregation, Totals
from apps.rating.pricing import Need

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_MICROSECOND: Final = timedelta(microseconds=1)
BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_CARRIES: Final = frozenset({Aggregation.SUM, Aggregation.LATEST, Aggregation.WEIGHTED_SUM})
# needs that only the events themselves can answer
_FROM_EVENTS: Final = frozenset({Need.TRANSACTIONS, Need.PRICED, Need.BANDS})


class _Scope(IntEnum):
    CUSTOMER = 0
    SUBSCRIPTION = 1
    SUBSCRIPTION_OR_NONE = 2


class _Parts(IntFlag):
    """The parts of ``Totals`` that an aggregation looks at besides the count."""

    NONE = 0
    TOTAL = 1
    MOMENT = 2
    LOW = 4
    HIGH = 8
    LAST = 16


# adding up what nobody looks at is a fifth of the cost of measuring
_PARTS: Final = {
    Aggregation.COUNT: _Parts.NONE,
    Aggregation.SUM: _Parts.TOTAL,
    Aggregation.AVERAGE: _Parts.TOTAL,
    Aggregation.WEIGHTED_SUM: _Parts.TOTAL | _Parts.MOMENT,
    Aggregation.MIN: _Parts.LOW,
    Aggregation.MAX: _Parts.HIGH,
    Aggregation.LATEST: _Parts.LAST,
}


class _Slots(IntEnum):
    """How finely events are kept apart for a request."""

    NONE = 0
    MINUTES = 1
    EVENTS = 2


@dataclass(frozen=True, slots=True)
class Piece:
    """One stretch of time of a request: in its spans, or before or between them."""

    asked: "Asked"
    lo: datetime
    hi: datetime
    scope: _Scope
    # microseconds by which the gaps before it are closed
    shift: int
    in_span: bool


@dataclass(slots=True)
class Asked:
    """A request, what it needs, and the rows found for it."""

    request: UsageRequest
    terms: MeterTerms
    slots: _Slots
    from_events: bool
    rows: list[tuple[Piece, "Row"]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """What was found for a piece: one group, kept apart as finely as its request needs."""

    group: tuple[str | None, ...]
    slot: str | None
    item: str | None
    totals: Totals
    priced: Decimal


def ask(requests: Sequence[UsageRequest]) -> list[Asked]:
    """Return the requests with the terms of their meters; raise ``MeterNotFound``."""
    known = meter_terms(request.meter_version_id for request in requests)
    asked = []
    for request in requests:
        terms = known.get(request.meter_version_id)
        if terms is None:
            raise MeterNotFound(f"There is no meter version {request.meter_version_id}.")
        slots = {Need.BANDS: _Slots.MINUTES, Need.TRANSACTIONS: _Slots.EVENTS}
        asked.append(
            Asked(
                request,
                terms,
                slots.get(request.need, _Slots.NONE) if request.need else _Slots.NONE,
                request.need in _FROM_EVENTS or terms.rule.aggregation not in ROLLED_UP,
            )
        )
    return asked


def pieces_of(asked: Asked) -> list[Piece]:
    """Return the spans of a request and, where a level is carried, the times before them."""
    rule = asked.terms.rule
    carries = rule.recurring and rule.aggregation in _CARRIES
    pieces = []
    shift = 0
    until: datetime | None = None
    for span in asked.request.spans:
        start, end = span.start.astimezone(UTC), span.end.astimezone(UTC)
        scope = _Scope.SUBSCRIPTION_OR_NONE if span.unassigned else _Scope.SUBSCRIPTION
        if asked.request.subscription_id is None:
            scope = _Scope.CUSTOMER
        if until is not None:
            shift += (start - until) // _MICROSECOND
        before = BEGINNING if until is None else until
        if carries and before < start:
            pieces.append(Piece(asked, before, start, scope, shift, in_span=False))
        pieces.append(Piece(asked, start, end, scope, shift, in_span=True))
        until = end
    return pieces


Ranges = list[tuple[Any, ...]]


def cut_all(pieces: Sequence[Piece]) -> tuple[Ranges, Ranges, Ranges]:
    """Return what to read: from rollups, from events not rolled up yet, and from any events."""
    rolled: Ranges = []
    unrolled: Ranges = []
    raw: Ranges = []
    for number, piece in enumerate(pieces):
        asked = piece.asked
        names = (number, *names_of(piece))
        first, last = _ceiling(piece.lo, _HOUR), _floor(piece.hi, _HOUR)
        edges = [(piece.lo, piece.hi)]
        if not asked.from_events and first < last:
            edges = [(piece.lo, first), (last, piece.hi)]
            parts = int(_PARTS[asked.terms.rule.aggregation])
            rolled += [(*names, parts, *grained) for grained in _whole(first, last)]
            unrolled.append((*names, first, last))
        raw += [
            (*names, lo, hi, int(asked.slots), asked.request.need == Need.PRICED)
            for lo, hi in edges
            if lo < hi
        ]
    return rolled, unrolled, raw


def names_of(piece: Piece) -> tuple[UUID, UUID, UUID | None, int]:
    """Return whose usage is read, of what: version, customer, subscription and scope."""
    request = piece.asked.request
    return (
        request.meter_version_id,
        request.customer_id,
        request.subscription_id,
        int(piece.scope),
    )


def _whole(first: datetime, last: datetime) -> list[tuple[str, datetime, datetime]]:
    """Return whole hours as days and the hours before and after them."""
    begin, end = _ceiling(first, _DAY), _floor(last, _DAY)
    if begin >= end:
        return [("h", first, last)]
    ranges = [("h", first, begin), ("d", begin, end), ("h", end, last)]
    return [(grain, lo, hi) for grain, lo, hi in ranges if lo < hi]


def _floor(at: datetime, step: timedelta) -> datetime:
    return at - (at - BEGINNING) % step


def _ceiling(at: datetime, step: timedelta) -> datetime:
    rest = (at - BEGINNING) % step
    return at + (step - rest) if rest else at


def columns_of(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Return rows as arrays, one for each column."""
    return [list(column) for column in zip(*rows, strict=True)]
