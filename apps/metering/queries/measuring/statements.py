"""The statement that measures, and what it reads."""

import json
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final, TypeAlias
from uuid import UUID

from django.db import connection

from apps.core.money import EXACT
from apps.metering.domain import EventBehind, MeasuredUsage, UsageRequest
from apps.metering.queries.measuring.answering import EPOCH, measurements_of
from apps.metering.queries.measuring.asking import (
    Asked,
    Piece,
    Row,
    ask,
    columns_of,
    cut_all,
    names_of,
    pieces_of,
)
from apps.rating.aggregation import Totals

_ZERO: Final = Decimal(0)
# among the numbers of pieces
_IS_PENDING: Final = -2  # -1 is the snapshot

# Does no amendment that is visible in the snapshot (if there is one) take the event out? Tenants that
# amend nothing are not asked about single events.
_COUNTS: Final = """
CASE WHEN (SELECT EXISTS (SELECT FROM metering_eventamendment a WHERE a.tenant_id = ANY (%s::uuid[])))
     THEN coalesce((SELECT sum(x.sign) FROM metering_eventeffect x
                    WHERE x.seq = e.seq AND metering_visible(x.xid, %s::pg_snapshot)), 0) = 0
     ELSE true END
"""
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
# of customers and events whose amendments the rollups do not know yet, they tell nothing
_PENDING: Final = """
SELECT DISTINCT -2, x.customer_id::text || ' ' || x.event_name, NULL, NULL, NULL::bigint,
       NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric[], NULL::numeric
FROM metering_eventeffect x, metering_rollupfrontier f
WHERE x.xid >= %s::text::xid8 AND x.xid >= f.below_xid::text::xid8 AND x.sign <> 0
  AND x.customer_id::text = ANY (%s::text[])
"""
# What came since the frontier is read once for all requests, in the order of transactions: the bound
# is also given as a constant, by which that index can be searched, and customers are compared as
# text, so that the index of customers, with all that they ever used, is of no use here.
_NOT_ROLLED_YET: Final = f"""
WITH recent AS MATERIALIZED (
  SELECT e.tenant_id, e.customer_id, e.subscription_id, e.event_name, e.occurred_at, e.value,
         e.properties, e.seq, extract(epoch FROM e.occurred_at) AS epoch
  FROM metering_usageevent e, metering_rollupfrontier f
  WHERE e.ingest_xid >= %s::text::xid8 AND e.ingest_xid >= f.below_xid::text::xid8
    AND e.customer_id::text = ANY (%s::text[]) AND {_COUNTS}
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
"""  # noqa: S608 -- constants
_EVENTS: Final = f"""
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
  AND metering_visible(e.ingest_xid, %s::pg_snapshot) AND {_COUNTS}
GROUP BY r.n, e."group", d.slot, d.item
"""  # noqa: S608 -- constants
# what has caught up stays so, and the frontier only moves on: the statement may rely on both
_FRONTIER: Final = """
SELECT (SELECT core_counted(below_xid) FROM metering_rollupfrontier),
       ARRAY(SELECT meter_version_id FROM metering_rollupposition
             WHERE meter_version_id = ANY(%s) AND caught_up)
"""
_SNAPSHOT: Final = """
SELECT -1, core_snapshot()::text, NULL, NULL, NULL::bigint, NULL::numeric, NULL::numeric,
       NULL::numeric, NULL::numeric, NULL::numeric[], NULL::numeric
"""
_BEHIND: Final = f"""
SELECT e.key, e.event_name, e.subscription_id, e.occurred_at, e.received_at, e.value,
       e.properties::text, e.seq
FROM unnest(%s::int[], %s::uuid[], %s::uuid[], %s::uuid[], %s::int[], %s::timestamptz[],
            %s::timestamptz[])
     AS r(n, version, customer, subscription, scope, lo, hi)
JOIN metering_countedevent e
  ON e.meter_version_id = r.version AND e.customer_id = r.customer
 AND e.occurred_at >= r.lo AND e.occurred_at < r.hi
WHERE metering_in_scope(r.scope, r.subscription, e.subscription_id)
  AND metering_visible(e.ingest_xid, %s::pg_snapshot) AND {_COUNTS} AND e.seq > %s
ORDER BY e.seq LIMIT %s
"""  # noqa: S608 -- constants

# a customer, and the name of events of his
_Amended: TypeAlias = tuple[UUID, str]


def measure(requests: Sequence[UsageRequest]) -> MeasuredUsage:
    """Return what each request asks for, exact at one snapshot, which is returned with it.

    Whatever the number of requests: at most two small queries and the one that measures, which is
    repeated if it meets amendments that the rollups do not know yet. Raises ``MeterNotFound`` for a
    version that does not exist.
    """
    amended: set[_Amended] = set()
    while True:
        measured, pending = _measure(requests, amended)
        if pending <= amended:
            return measured
        amended |= pending


def _measure(
    requests: Sequence[UsageRequest], amended: AbstractSet[_Amended]
) -> tuple[MeasuredUsage, AbstractSet[_Amended]]:
    """Measure, with what was ``amended`` from the events; tell what else would have to be.

    Its answer holds if that is nothing.
    """
    asked = ask(requests)
    frontier, caught_up = _frontier({one.request.meter_version_id for one in asked})
    for one in asked:
        usage = (one.request.customer_id, one.terms.event_name)
        if one.request.meter_version_id not in caught_up or usage in amended:
            one.from_events = True
    pieces = [piece for one in asked for piece in pieces_of(one)]
    parts, parameters = [_SNAPSHOT], []
    rolled, unrolled, raw = cut_all(pieces)
    tenants = _tenants(asked)
    if rolled:
        parts.append(_ROLLED)
        parameters += columns_of(rolled)
        customers = sorted({str(piece.asked.request.customer_id) for piece in pieces})
        parts.append(_PENDING)
        parameters += [str(frontier), customers]
        parts.append(_NOT_ROLLED_YET)
        parameters += [str(frontier), customers, tenants, None, *columns_of(unrolled)]
    if raw:
        parts.append(_EVENTS)
        parameters += [*columns_of(raw), None, tenants, None]
    return _answer(asked, pieces, parts, parameters)


def measure_as_of(requests: Sequence[UsageRequest], snapshot: str) -> MeasuredUsage:
    """Return what ``measure`` returned at ``snapshot``, recomputed from the events alone.

    Events that retention has dropped since are missing. Raises ``MeterNotFound``.
    """
    asked = ask(requests)
    for one in asked:
        one.from_events = True
    pieces = [piece for one in asked for piece in pieces_of(one)]
    _, _, raw = cut_all(pieces)
    parts, parameters = [_SNAPSHOT], []
    if raw:
        parts.append(_EVENTS)
        parameters += [*columns_of(raw), snapshot, _tenants(asked), snapshot]
    measured, _ = _answer(asked, pieces, parts, parameters)
    return replace(measured, snapshot=snapshot)


def events_behind(
    request: UsageRequest, snapshot: str, *, after: int = 0, limit: int
) -> list[EventBehind]:
    """Return the events in the spans that counted at ``snapshot``, in the order of arrival.

    At most ``limit`` of those that arrived after the event with the ``seq`` given.
    """
    (asked,) = ask([request])
    pieces = [
        (number, *names_of(piece), piece.lo, piece.hi)
        for number, piece in enumerate(pieces_of(asked))
        if piece.in_span
    ]
    with connection.cursor() as cursor:
        columns = columns_of(pieces or [(0, *[None] * 6)])
        tenants = [request.tenant_id]
        cursor.execute(_BEHIND, [*columns, snapshot, tenants, snapshot, after, limit])
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


def _frontier(version_ids: Iterable[UUID]) -> tuple[int, frozenset[UUID]]:
    with connection.cursor() as cursor:
        cursor.execute(_FRONTIER, [list(version_ids)])
        below, caught_up = cursor.fetchone()
    return below, frozenset(caught_up)


def _answer(
    asked: Sequence[Asked],
    pieces: Sequence[Piece],
    parts: Sequence[str],
    parameters: Sequence[Any],
) -> tuple[MeasuredUsage, AbstractSet[_Amended]]:
    snapshot = ""
    pending: set[_Amended] = set()
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(f"({part})" for part in parts), parameters)
        for number, group, slot, item, count, total, moment, low, high, last, priced in cursor:
            if number < 0:
                if number == _IS_PENDING:
                    customer, _, event_name = group.partition(" ")
                    pending.add((UUID(customer), event_name))
                else:
                    snapshot = group
                continue
            last_at, last_seq, last_value = None, None, None
            if last is not None:
                last_at = EPOCH + timedelta(microseconds=int(last[0].scaleb(6, EXACT)))
                last_seq, last_value = int(last[1]), last[2]
            totals = Totals(
                count, total or _ZERO, moment or _ZERO, low, high, last_at, last_seq, last_value
            )
            row = Row(tuple(json.loads(group)), slot, item, totals, priced or _ZERO)
            pieces[number].asked.rows.append((pieces[number], row))
    answers = {one.request.number: measurements_of(one) for one in asked}
    return MeasuredUsage(answers, snapshot), pending


def _tenants(asked: Iterable[Asked]) -> list[UUID]:
    return list({one.request.tenant_id for one in asked})
