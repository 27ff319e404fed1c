"""Measuring usage: exact at every instant, at a cost that does not grow with the events.

A span is cut into whole UTC days and hours, which are read from the rollups, and the rest of its
two edge hours, which is read from the events; to the whole hours come the events that the reader
of ``operations.rollups`` has not counted yet. All of it is one statement, so one snapshot.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import IntEnum, IntFlag
from itertools import repeat
from typing import Any, Final
from uuid import UUID

from django.db import connection

from apps.core.money import EXACT, plain
from apps.metering.domain import (
    EventBehind,
    MeasuredUsage,
    Measurement,
    MeterNotFound,
    MeterTerms,
    UsageRequest,
)
from apps.metering.queries.meters import meter_terms
from apps.rating.aggregation import (
    ROLLED_UP,
    Aggregation,
    Totals,
    Usage,
    aggregate,
    epoch_seconds,
    from_totals,
)
from apps.rating.periods import Span
from apps.rating.pricing import (
    GroupKey,
    Matrix,
    Measured,
    Need,
    TimeOfDay,
    band_of,
)

_ZERO: Final = Decimal(0)
_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
_MINUTE: Final = timedelta(minutes=1)
_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINNING: Final = datetime.min.replace(tzinfo=UTC)
_CARRIES: Final = frozenset({Aggregation.SUM, Aggregation.LATEST, Aggregation.WEIGHTED_SUM})
# needs that only the events themselves can answer
_FROM_EVENTS: Final = frozenset({Need.TRANSACTIONS, Need.PRICED, Need.BANDS})

_ROLLED: Final = """
SELECT r.n, u."group", NULL::text AS slot, NULL::text AS item, sum(u.count)::bigint AS count,
       sum(CASE WHEN r.parts & 1 > 0 THEN u.total END) AS total,
       sum(CASE WHEN r.parts & 2 > 0 THEN u.moment END) AS moment,
       min(CASE WHEN r.parts & 4 > 0 THEN u.low END) AS low,
       max(CASE WHEN r.parts & 8 > 0 THEN u.high END) AS high,
       max(CASE WHEN r.parts & 16 > 0
                THEN ARRAY[extract(epoch FROM u.last_at), u.last_seq, u.last_value] END) AS last,
       NULL::numeric AS priced
FROM unnest(%s::int[], %s::uuid[], %s::uuid[], %s::uuid[], %s::int[], %s::int[], %s::text[],
            %s::timestamptz[], %s::timestamptz[])
     AS r(n, version, customer, subscription, scope, parts, grain, lo, hi)
JOIN metering_usagerollup u
  ON u.customer_id = r.customer AND u.meter_version_id = r.version AND u.grain = r.grain
 AND u.starts_at >= r.lo AND u.starts_at < r.hi
WHERE metering_in_scope(r.scope, r.subscription, u.subscription_id)
GROUP BY r.n, u."group"
"""
# What came since the frontier is read once for all requests, in the order of transactions: the bound
# is also given as a constant, by which that index can be searched, and customers are compared as
# text, so that the index of customers, with all that they ever used, is of no use here.
_NOT_ROLLED_YET: Final = """
WITH recent AS MATERIALIZED (
  SELECT e.tenant_id, e.customer_id, e.subscription_id, e.event_name, e.occurred_at, e.value,
         e.properties, e.seq, extract(epoch FROM e.occurred_at) AS epoch
  FROM metering_usageevent e, metering_rollupfrontier f
  WHERE e.ingest_xid >= %s::text::xid8 AND e.ingest_xid >= f.below_xid::text::xid8
    AND e.customer_id::text = ANY (%s::text[])
)
SELECT r.n, s."group", NULL, NULL, count(*), sum(s.counted), sum(s.counted * e.epoch),
       min(s.counted), max(s.counted), max(ARRAY[e.epoch, e.seq, s.counted]), NULL
FROM unnest(%s::int[], %s::uuid[], %s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[],
            %s::timestamptz[])
     AS r(n, version, customer, subscription, scope, lo, hi)
JOIN metering_meterversion v ON v.id = r.version
JOIN recent e
  ON e.customer_id = r.customer AND e.event_name = v.event_name AND e.tenant_id = v.tenant_id
 AND e.occurred_at >= r.lo AND e.occurred_at < r.hi
CROSS JOIN LATERAL metering_seen(v.aggregation, v.value_property, v.group_by::text[], v.filters,
                                 e.value, e.properties) AS s
WHERE metering_in_scope(r.scope, r.subscription, e.subscription_id)
GROUP BY r.n, s."group"
"""
_EVENTS: Final = """
SELECT r.n, e."group", d.slot, d.item, count(*), sum(e.counted), sum(e.counted * e.epoch),
       min(e.counted), max(e.counted), max(ARRAY[e.epoch, e.seq, e.counted]),
       sum(CASE WHEN r.priced THEN metering_number(e.properties -> 'price') END)
FROM unnest(%s::int[], %s::uuid[], %s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[],
            %s::timestamptz[], %s::int[], %s::boolean[])
     AS r(n, version, customer, subscription, scope, lo, hi, slots, priced)
JOIN metering_countedevent e
  ON e.meter_version_id = r.version AND e.customer_id = r.customer
 AND e.occurred_at >= r.lo AND e.occurred_at < r.hi
CROSS JOIN LATERAL (
  SELECT CASE r.slots WHEN 1 THEN floor(e.epoch / 60)::text WHEN 2 THEN e.seq::text END AS slot,
         CASE e.aggregation WHEN 'unique_count' THEN e.item
                            WHEN 'percentile' THEN e.counted::text END AS item
) AS d
WHERE metering_in_scope(r.scope, r.subscription, e.subscription_id)
  AND metering_visible(e.ingest_xid, %s::pg_snapshot)
GROUP BY r.n, e."group", d.slot, d.item
"""
# what has caught up stays so, and the frontier only moves on: the statement may rely on both
_FRONTIER: Final = """
SELECT (SELECT below_xid FROM metering_rollupfrontier),
       ARRAY(SELECT meter_version_id FROM metering_rollupposition
             WHERE meter_version_id = ANY(%s) AND caught_up)
"""
_SNAPSHOT: Final = """
SELECT -1, pg_current_snapshot()::text, NULL, NULL, NULL::bigint, NULL::numeric, NULL::numeric,
       NULL::numeric, NULL::numeric, NULL::numeric[], NULL::numeric
"""
_BEHIND: Final = """
SELECT e.key, e.event_name, e.subscription_id, e.occurred_at, e.received_at, e.value,
       e.properties::text, e.seq
FROM unnest(%s::int[], %s::uuid[], %s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[],
            %s::timestamptz[])
     AS r(n, version, customer, subscription, scope, lo, hi)
JOIN metering_countedevent e
  ON e.meter_version_id = r.version AND e.customer_id = r.customer
 AND e.occurred_at >= r.lo AND e.occurred_at < r.hi
WHERE metering_in_scope(r.scope, r.subscription, e.subscription_id)
  AND metering_visible(e.ingest_xid, %s::pg_snapshot) AND e.seq > %s
ORDER BY e.seq LIMIT %s
"""


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
class _Piece:
    """One stretch of time of a request: in its spans, or before or between them."""

    asked: "_Asked"
    lo: datetime
    hi: datetime
    scope: _Scope
    # microseconds by which the gaps before it are closed
    shift: int
    in_span: bool


@dataclass(slots=True)
class _Asked:
    """A request, what it needs, and the rows found for it."""

    request: UsageRequest
    terms: MeterTerms
    slots: _Slots
    from_events: bool
    rows: list[tuple[_Piece, "_Row"]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Row:
    group: tuple[str | None, ...]
    slot: str | None
    item: str | None
    totals: Totals
    priced: Decimal


def measure(requests: Sequence[UsageRequest]) -> MeasuredUsage:
    """Return what each request asks for, exact at one snapshot, which is returned with it.

    Whatever the number of requests: at most two small queries and the one that measures. Raises
    ``MeterNotFound`` for a version that does not exist.
    """
    asked = _ask(requests)
    frontier, caught_up = _frontier({one.request.meter_version_id for one in asked})
    for one in asked:
        if one.request.meter_version_id not in caught_up:
            one.from_events = True
    pieces = [piece for one in asked for piece in _pieces(one)]
    parts, parameters = [_SNAPSHOT], []
    rolled, unrolled, raw = _cut_all(pieces)
    if rolled:
        parts.append(_ROLLED)
        parameters += _columns(rolled)
    if unrolled:
        parts.append(_NOT_ROLLED_YET)
        customers = sorted({str(piece.asked.request.customer_id) for piece in pieces})
        parameters += [str(frontier), customers, *_columns(unrolled)]
    if raw:
        parts.append(_EVENTS)
        parameters += [*_columns(raw), None]
    return _answer(asked, pieces, parts, parameters)


def measure_as_of(requests: Sequence[UsageRequest], snapshot: str) -> MeasuredUsage:
    """Return what ``measure`` returned at ``snapshot``, recomputed from the events alone.

    Events that retention has dropped since are missing. Raises ``MeterNotFound``.
    """
    asked = _ask(requests)
    for one in asked:
        one.from_events = True
    pieces = [piece for one in asked for piece in _pieces(one)]
    _, _, raw = _cut_all(pieces)
    parts, parameters = [_SNAPSHOT], []
    if raw:
        parts.append(_EVENTS)
        parameters += [*_columns(raw), snapshot]
    return replace(_answer(asked, pieces, parts, parameters), snapshot=snapshot)


def events_behind(
    request: UsageRequest, snapshot: str, *, after: int = 0, limit: int
) -> list[EventBehind]:
    """Return the events in the spans that counted at ``snapshot``, in the order of arrival.

    At most ``limit`` of those that arrived after the event with the ``seq`` given.
    """
    (asked,) = _ask([request])
    pieces = [
        (number, *_names(piece), piece.lo, piece.hi)
        for number, piece in enumerate(_pieces(asked))
        if piece.in_span
    ]
    with connection.cursor() as cursor:
        cursor.execute(_BEHIND, [*_columns(pieces or [(0, *[None] * 6)]), snapshot, after, limit])
        return [
            EventBehind(
                key=key,
                event_name=event_name,
                subscription_id=subscription_id,
                occurred_at=occurred_at,
                received_at=received_at,
                value=value,
                properties=json.loads(properties, parse_float=Decimal),
                seq=seq,
            )
            for (
                key,
                event_name,
                subscription_id,
                occurred_at,
                received_at,
                value,
                properties,
                seq,
            ) in cursor.fetchall()
        ]


# --- asking -------------------------------------------------------------------------------------


def _ask(requests: Sequence[UsageRequest]) -> list[_Asked]:
    known = meter_terms(request.meter_version_id for request in requests)
    asked = []
    for request in requests:
        terms = known.get(request.meter_version_id)
        if terms is None:
            raise MeterNotFound(f"There is no meter version {request.meter_version_id}.")
        slots = {Need.BANDS: _Slots.MINUTES, Need.TRANSACTIONS: _Slots.EVENTS}
        asked.append(
            _Asked(
                request,
                terms,
                slots.get(request.need, _Slots.NONE) if request.need else _Slots.NONE,
                request.need in _FROM_EVENTS or terms.rule.aggregation not in ROLLED_UP,
            )
        )
    return asked


def _frontier(version_ids: Iterable[UUID]) -> tuple[int, frozenset[UUID]]:
    with connection.cursor() as cursor:
        cursor.execute(_FRONTIER, [list(version_ids)])
        below, caught_up = cursor.fetchone()
    return below, frozenset(caught_up)


def _pieces(asked: _Asked) -> list[_Piece]:
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
        before = _BEGINNING if until is None else until
        if carries and before < start:
            pieces.append(_Piece(asked, before, start, scope, shift, in_span=False))
        pieces.append(_Piece(asked, start, end, scope, shift, in_span=True))
        until = end
    return pieces


_Ranges = list[tuple[Any, ...]]


def _cut_all(pieces: Sequence[_Piece]) -> tuple[_Ranges, _Ranges, _Ranges]:
    """Return what to read: from rollups, from events not rolled up yet, and from any events."""
    rolled: _Ranges = []
    unrolled: _Ranges = []
    raw: _Ranges = []
    for number, piece in enumerate(pieces):
        asked = piece.asked
        names = (number, *_names(piece))
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


def _names(piece: _Piece) -> tuple[UUID, UUID, UUID | None, int]:
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
    return at - (at - _BEGINNING) % step


def _ceiling(at: datetime, step: timedelta) -> datetime:
    rest = (at - _BEGINNING) % step
    return at + (step - rest) if rest else at


def _columns(rows: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [list(column) for column in zip(*rows, strict=True)]


# --- answering ----------------------------------------------------------------------------------


def _answer(
    asked: Sequence[_Asked],
    pieces: Sequence[_Piece],
    parts: Sequence[str],
    parameters: Sequence[Any],
) -> MeasuredUsage:
    snapshot = ""
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"({part})" for part in parts), parameters)
        for number, group, slot, item, count, total, moment, low, high, last, priced in cursor:
            if number < 0:
                snapshot = group
                continue
            last_at, last_seq, last_value = None, None, None
            if last is not None:
                last_at = _EPOCH + timedelta(microseconds=int(last[0].scaleb(6, EXACT)))
                last_seq, last_value = int(last[1]), last[2]
            totals = Totals(
                count, total or _ZERO, moment or _ZERO, low, high, last_at, last_seq, last_value
            )
            row = _Row(tuple(json.loads(group)), slot, item, totals, priced or _ZERO)
            pieces[number].asked.rows.append((pieces[number], row))
    return MeasuredUsage({one.request.number: _finish(one) for one in asked}, snapshot)


_Rows = list[tuple[_Piece, _Row]]


def _finish(asked: _Asked) -> tuple[Measurement, ...]:
    by_point: dict[str, _Rows] = {"": []}
    for piece, row in asked.rows:
        by_point.setdefault(row.group[0] or "", []).append((piece, row))
    return tuple(
        Measurement(point, _measured(asked, by_point[point])) for point in sorted(by_point)
    )


def _measured(asked: _Asked, rows: _Rows) -> Measured:
    within = [row for piece, row in rows if piece.in_span]
    need = asked.request.need
    return Measured(
        quantity=_quantity(asked, rows),
        count=sum(row.totals.count for row in within),
        groups=_groups(asked, rows) if need == Need.GROUPS else (),
        transactions=_transactions(within) if need == Need.TRANSACTIONS else (),
        priced=sum((row.priced for row in within), _ZERO) if need == Need.PRICED else _ZERO,
        bands=_bands(asked, rows) if need == Need.BANDS else (),
    )


def _groups(asked: _Asked, rows: _Rows) -> tuple[tuple[GroupKey, Decimal], ...]:
    names = asked.terms.group_by
    model = asked.request.model
    wanted = model.dimensions if isinstance(model, Matrix) else names
    places = [names.index(name) + 1 if name in names else None for name in wanted]
    by_key: dict[GroupKey, _Rows] = defaultdict(list)
    for piece, row in rows:
        key = tuple(None if place is None else row.group[place] for place in places)
        by_key[key].append((piece, row))
    return tuple((key, _quantity(asked, found)) for key, found in by_key.items())


def _transactions(rows: Iterable[_Row]) -> tuple[Decimal, ...]:
    in_order = sorted(rows, key=lambda row: int(row.slot or 0))
    return tuple(row.totals.total for row in in_order)


def _bands(asked: _Asked, rows: _Rows) -> tuple[tuple[int, Decimal], ...]:
    model = asked.request.model
    if not isinstance(model, TimeOfDay):
        raise TypeError("bands of the day are those of a time-of-day model")
    by_band: dict[int, _Rows] = defaultdict(list)
    for piece, row in rows:
        if piece.in_span:
            at = _EPOCH + int(row.slot or 0) * _MINUTE
            by_band[band_of(model, at)].append((piece, row))
    return tuple((band, _quantity(asked, by_band[band])) for band in sorted(by_band))


def _quantity(asked: _Asked, rows: _Rows) -> Decimal:
    """Return a quantity without the zeros at its end that rollups are stored with."""
    return Decimal(plain(_aggregated(asked, rows)))


def _aggregated(asked: _Asked, rows: _Rows) -> Decimal:
    rule = asked.terms.rule
    span = _joined(asked.request)
    within = [(piece, row) for piece, row in rows if piece.in_span]
    if rule.aggregation not in ROLLED_UP:
        return aggregate(rule, [usage for _, row in within for usage in _usages(row)], span)
    totals, before = Totals(), Totals()
    for piece, row in within:
        totals = totals.merge(_shifted(row.totals, piece.shift))
    carried = _ZERO
    for piece, row in rows:
        if piece.in_span:
            continue
        if piece.lo == _BEGINNING:
            before = before.merge(row.totals)
        elif rule.aggregation == Aggregation.LATEST:
            totals = totals.merge(row.totals)
        elif rule.aggregation == Aggregation.WEIGHTED_SUM:
            totals = totals.merge(_at_once(row.totals, piece))
        else:
            carried = EXACT.add(carried, row.totals.total)
    level = before.last_value if rule.aggregation == Aggregation.LATEST else before.total
    return from_totals(rule, totals, span, EXACT.add(carried, level or _ZERO))


def _joined(request: UsageRequest) -> Span:
    """Return the spans put end to end: as long as all of them, beginning with the first."""
    if not request.spans:
        return Span(_EPOCH, _EPOCH)
    start = request.spans[0].start
    return Span(start, start + sum((one.end - one.start for one in request.spans), timedelta()))


def _shifted(totals: Totals, shift: int) -> Totals:
    """Return totals of events that all happen so many microseconds earlier, for their moment."""
    if not shift:
        return totals
    earlier = EXACT.multiply(totals.total, Decimal(shift).scaleb(-6, EXACT))
    return replace(totals, moment=EXACT.subtract(totals.moment, earlier))


def _at_once(totals: Totals, gap: _Piece) -> Totals:
    """Return the changes in a gap as if they came with the start of the span that follows it."""
    start = gap.hi - gap.shift * _MICROSECOND
    return replace(totals, moment=EXACT.multiply(totals.total, epoch_seconds(start)))


def _usages(row: _Row) -> Iterable[Usage]:
    totals = row.totals
    at, seq = totals.last_at or _EPOCH, totals.last_seq or 0
    return repeat(Usage(at, seq, totals.high or _ZERO, row.item or ""), totals.count)
