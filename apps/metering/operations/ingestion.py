"""Storing events: one statement per batch, which either commits all of it or nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import OperationalError, connection

from apps.metering.domain import (
    OrphanReason,
    Receipt,
    ReceiptStatus,
    Sender,
    SenderChanged,
)
from apps.metering.intake import (
    LONGEST_KEY,
    EventReader,
    EventRefused,
    Expectations,
    NewEvent,
    Window,
    subject_ids,
    window_at,
)
from apps.metering.operations import arrays
from apps.metering.queries.expectations import expectations, refreshed_expectations

# Keys are stored in the order of their ids, so that overlapping batches never wait in a ring.
_STORE: Final = """
WITH gate AS MATERIALIZED (
  SELECT coalesce((SELECT number FROM metering_meterstamp WHERE tenant_id = %(tenant)s), 0)
         = %(stamp)s AS current,
         %(key)s::uuid IS NULL OR EXISTS (
           SELECT FROM tenants_apikey k JOIN tenants_tenant t ON t.id = k.tenant_id
           WHERE k.id = %(key)s AND t.id = %(tenant)s AND k.revoked_at IS NULL
             AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())
             AND t.event_max_age = %(max_age)s AND t.event_max_ahead = %(max_ahead)s
             AND t.test_clock_id IS NULL
         ) AS admitted
), item AS MATERIALIZED (
  SELECT * FROM unnest(
    %(ids)s::uuid[], %(fingerprints)s::uuid[], %(keys)s::text[], %(aims)s::int[],
    %(times)s::timestamptz[], %(values)s::text[], %(properties)s::jsonb[]
  ) WITH ORDINALITY
    AS i(id, fingerprint, key, aim, occurred_at, value, properties, place)
  WHERE (SELECT current AND admitted FROM gate)
), aim AS MATERIALIZED (
  SELECT a.place, a.event_name, a.kind, a.name, s.customer_id, s.subscription_id, s.opens_at,
         s.closes_at, CASE WHEN a.unknown_meter = 1 THEN 'unknown_meter'
                           WHEN s.customer_id IS NULL THEN 'unknown_subject' END AS obstacle
  FROM unnest(%(names)s::text[], %(unknown)s::int[], %(kinds)s::text[], %(subjects)s::text[],
              %(customers)s::uuid[], %(subscriptions)s::uuid[])
       WITH ORDINALITY
         AS a(event_name, unknown_meter, kind, name, customer, subscription, place)
  LEFT JOIN LATERAL metering_subject(%(tenant)s, a.kind, a.name, a.customer, a.subscription) AS s
    ON true
), fresh AS (
  INSERT INTO metering_usageeventkey (id, fingerprint, occurred_at)
  SELECT id, fingerprint, occurred_at FROM item ORDER BY id
  ON CONFLICT DO NOTHING RETURNING id
), placed AS MATERIALIZED (
  SELECT item.*, aim.event_name, aim.kind, aim.name, aim.customer_id, aim.subscription_id,
         coalesce(aim.obstacle,
                  CASE WHEN item.occurred_at < aim.opens_at OR item.occurred_at >= aim.closes_at
                       THEN 'outside_subscription' END) AS obstacle
  FROM fresh JOIN item USING (id) JOIN aim ON aim.place = item.aim
), stored AS (
  INSERT INTO metering_usageevent
    (tenant_id, id, customer_id, subscription_id, event_name, occurred_at, value, properties, key,
     received_at)
  SELECT %(tenant)s, id, customer_id, subscription_id, event_name, occurred_at, value::numeric,
         properties, key, %(at)s
  FROM placed WHERE obstacle IS NULL ORDER BY place
), orphaned AS (
  INSERT INTO metering_orphanevent
    (id, tenant_id, status, key, event_name, subject_kind, subject, occurred_at, value,
     properties, reason, received_at)
  SELECT metering_new_id(), %(tenant)s, 'open', key, event_name, kind, name, occurred_at,
         value::numeric, properties, obstacle, %(at)s
  FROM placed WHERE obstacle IS NOT NULL ORDER BY place
)
SELECT gate.current, gate.admitted,
       CASE WHEN (SELECT count(*) FROM fresh) < (SELECT count(*) FROM item)
            THEN ARRAY(SELECT place FROM item
                       WHERE NOT EXISTS (SELECT FROM fresh WHERE fresh.id = item.id))
            ELSE '{}' END,
       ARRAY(SELECT place || ' ' || obstacle FROM placed WHERE obstacle IS NOT NULL)
FROM gate
"""
_KNOWN: Final = """
SELECT id, fingerprint FROM metering_usageeventkey WHERE id = ANY(%s::uuid[])
"""
_CLOCKS: Final = "SELECT min(now), max(now) FROM tenants_testclock WHERE tenant_id = %s"


def ingest_batch(sender: Sender, items: Sequence[object], *, at: datetime) -> list[Receipt]:
    """Store what is new and good among the items, and return a receipt for each, in order.

    ``items`` are parsed JSON, ``at`` is the instant of arrival for the tenant. An event is stored
    once, whatever is sent later with its key: the same payload is a duplicate, another one a
    conflict. A bad item does not lose its neighbours. What matches no meter, customer or open
    subscription is kept as an orphan. Outside a transaction everything is committed on return.
    Raises ``SenderChanged`` and stores nothing if the sender's key or policy is not as given.
    """
    batch = read_batch(sender, items, expectations(sender.tenant_id), at=at)
    while (receipts := store_batch(batch)) is None:
        batch = read_batch(sender, items, refreshed_expectations(sender.tenant_id), at=at)
    return receipts


@dataclass(slots=True)
class Batch:
    """Items that have been read, ready to be stored."""

    parameters: dict[str, Any]
    receipts: list[Receipt]
    events: list[NewEvent]
    places: list[int]  # of each event's item
    repeats: list[tuple[int, NewEvent, int]]  # an item, and the event of the batch with its key


def read_batch(
    sender: Sender, items: Sequence[object], expected: Expectations, *, at: datetime
) -> Batch:
    """Read what is to be stored; the receipts are those if all of it is new. Stores nothing."""
    read = EventReader(sender.tenant_id, expected, _window(sender, at), at=at).read
    accepted = ReceiptStatus.ACCEPTED
    batch = Batch({}, [], [], [], [])
    receipts, events = batch.receipts, batch.events
    first: dict[bytes, int] = {}
    for index, item in enumerate(items):
        try:
            event = read(item)
        except EventRefused as refused:
            receipts.append(_rejected(index, item, refused))
            continue
        receipts.append(Receipt(index, accepted, event.key))
        if event.id in first:
            batch.repeats.append((index, event, first[event.id]))
        else:
            first[event.id] = len(events)
            events.append(event)
            batch.places.append(index)
    batch.parameters = _parameters(sender, events, expected, at)
    return batch


def store_batch(batch: Batch) -> list[Receipt] | None:
    """Store a batch and return its receipts; None, with nothing stored, if the meters changed."""
    current, admitted, known, orphans = _run(batch.parameters)
    if not admitted:
        raise SenderChanged("The API key is not good any more.")
    if not current:
        return None
    receipts, events, places = batch.receipts, batch.events, batch.places
    for orphan in orphans:
        where, _, reason = orphan.partition(" ")
        receipts[places[int(where) - 1]].orphan = OrphanReason(reason)
    stored = _fingerprints([events[place - 1].id for place in known])
    for place in known:
        event, index = events[place - 1], places[place - 1]
        receipts[index] = _compared(index, event, stored[event.id])
    for index, event, first in batch.repeats:
        kept = stored.get(event.id, events[first].fingerprint)
        receipts[index] = _compared(index, event, kept)
    return receipts


def _window(sender: Sender, at: datetime) -> Window:
    window = window_at(at, max_age=sender.max_age, max_ahead=sender.max_ahead)
    if not sender.has_clocks:
        return window
    with connection.cursor() as cursor:
        cursor.execute(_CLOCKS, [sender.tenant_id])
        earliest, latest = cursor.fetchone()
    return Window(
        min(window.earliest, (earliest or at) - sender.max_age),
        max(window.latest, (latest or at) + sender.max_ahead),
    )


def _parameters(
    sender: Sender, events: Sequence[NewEvent], expected: Expectations, at: datetime
) -> dict[str, Any]:
    # what events are aimed at: each name and subject is looked up once
    aims: dict[tuple[str, bool, str, str], int] = {}
    numbers = [aims.setdefault(event.aim, len(aims) + 1) for event in events]
    ids = [subject_ids(kind, name) for _, _, kind, name in aims]
    return {
        "tenant": sender.tenant_id,
        "key": sender.key_id,
        "max_age": sender.max_age,
        "max_ahead": sender.max_ahead,
        "stamp": expected.stamp,
        "at": at,
        "ids": arrays.uuids([event.id for event in events]),
        "fingerprints": arrays.uuids([event.fingerprint for event in events]),
        "keys": arrays.texts([event.key for event in events]),
        "aims": arrays.ints(numbers),
        "times": arrays.instants([event.occurred_at for event in events]),
        "values": arrays.optional_texts([event.value for event in events]),
        "properties": arrays.documents([event.properties for event in events]),
        "names": arrays.texts([name for name, _, _, _ in aims]),
        "unknown": arrays.ints([unknown for _, unknown, _, _ in aims]),
        "kinds": arrays.texts([kind for _, _, kind, _ in aims]),
        "subjects": arrays.texts([name for _, _, _, name in aims]),
        "customers": arrays.optional_uuids([customer for customer, _ in ids]),
        "subscriptions": arrays.optional_uuids([subscription for _, subscription in ids]),
    }


_Answer = tuple[bool, bool, list[int], list[str]]


def _run(parameters: Mapping[str, Any]) -> _Answer:
    """Run the statement; once more if the connection turns out to be broken.

    That may store nothing twice: what the first try stored, the second finds.
    """
    try:
        return _run_once(parameters)
    except OperationalError:
        if connection.in_atomic_block:
            raise
        connection.close()
        return _run_once(parameters)


def _run_once(parameters: Mapping[str, Any]) -> _Answer:
    connection.ensure_connection()
    with connection.wrap_database_errors, arrays.cursor(connection.connection) as cursor:
        # stays prepared on the connection; Django's own cursors would plan it every time
        row: _Answer | None = cursor.execute(_STORE, parameters, prepare=True).fetchone()
    if row is None:
        raise RuntimeError("the statement always returns one row")
    return row


def _fingerprints(ids: Sequence[bytes]) -> dict[bytes, bytes]:
    """Return what is stored for keys that were there already; a new statement sees them all."""
    if not ids:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(_KNOWN, [[UUID(bytes=one) for one in ids]])
        return {found.bytes: fingerprint.bytes for found, fingerprint in cursor.fetchall()}


def _compared(index: int, event: NewEvent, stored: bytes) -> Receipt:
    if event.fingerprint == stored:
        return Receipt(index, ReceiptStatus.DUPLICATE, event.key)
    return Receipt(
        index,
        ReceiptStatus.CONFLICT,
        event.key,
        stored=stored.hex(),
        sent=event.fingerprint.hex(),
    )


def _rejected(index: int, item: object, refused: EventRefused) -> Receipt:
    key = item.get("idempotency_key") if isinstance(item, dict) else None
    return Receipt(
        index,
        ReceiptStatus.REJECTED,
        key if isinstance(key, str) and len(key) <= LONGEST_KEY else None,
        field=refused.field or None,
        reason=refused.code,
        detail=refused.detail,
    )
