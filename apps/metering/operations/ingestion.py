"""Storing events: one statement per batch, which either commits all of it or nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db import OperationalError, connection

from apps.core.failpoints import failpoint
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
    Events,
    Expectations,
    Refusal,
    Window,
    subject_ids,
    window_at,
)
from apps.metering.operations import arrays
from apps.metering.queries.expectations import expectations, refreshed_expectations

_STORE: Final = """
SELECT * FROM metering_store(
  %(tenant)s::uuid, %(key)s::uuid, %(stamp)s::bigint, %(max_age)s::interval,
  %(max_ahead)s::interval, %(at)s::timestamptz,
  %(ids)s::uuid[], %(fingerprints)s::uuid[], %(keys)s::text[], %(times)s::timestamptz[],
  %(values)s::text[], %(documents)s::jsonb[], %(name_places)s::int[], %(subject_places)s::int[],
  %(names)s::text[], %(unknown)s::boolean[], %(kinds)s::text[], %(subjects)s::text[],
  %(customers)s::uuid[], %(subscriptions)s::uuid[]
)
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
    failpoint("metering.ingest.before_store")
    while (receipts := store_batch(batch)) is None:
        batch = read_batch(sender, items, refreshed_expectations(sender.tenant_id), at=at)
    failpoint("metering.ingest.after_store")
    return receipts


class _Repeat(NamedTuple):
    """An item whose key another item of the batch has, which comes before it."""

    place: int
    key: str
    id: bytes
    fingerprint: bytes
    first: bytes  # the fingerprint of the other


@dataclass(slots=True)
class Batch:
    """Items that have been read, ready to be stored; the receipts are those if all are new."""

    parameters: dict[str, Any]
    receipts: list[Receipt]
    events: Events
    repeats: list[_Repeat]


def read_batch(
    sender: Sender, items: Sequence[object], expected: Expectations, *, at: datetime
) -> Batch:
    """Read what is to be stored. Stores nothing."""
    reader = EventReader(sender.tenant_id, expected, _window(sender, at), at=at)
    events, refusals = reader.read(items)
    accepted = ReceiptStatus.ACCEPTED
    receipts = [
        Receipt(place, accepted, key) for place, key in zip(events.places, events.keys, strict=True)
    ]
    for refusal in refusals:  # in ascending order, so that each finds its place
        receipts.insert(refusal.place, _rejected(refusal))
    events, repeats = _told_apart(events)
    return Batch(_parameters(sender, events, expected, at), receipts, events, repeats)


def store_batch(batch: Batch) -> list[Receipt] | None:
    """Store a batch and return its receipts; None, with nothing stored, if the meters changed."""
    current, admitted, known, fingerprints, orphans, reasons = _run(batch.parameters)
    if not admitted:
        raise SenderChanged("The API key is not good any more.")
    if not current:
        return None
    receipts, events = batch.receipts, batch.events
    if orphans and reasons:
        places = dict(zip(events.keys, events.places, strict=True))
        for key, reason in zip(orphans, reasons, strict=True):
            receipts[places[key]].orphan = OrphanReason(reason)
    stored: dict[bytes, bytes] = {}
    if known and fingerprints:
        stored = {one.bytes: found.bytes for one, found in zip(known, fingerprints, strict=True)}
        for place, key, one, sent in zip(
            events.places, events.keys, events.ids, events.fingerprints, strict=True
        ):
            if one in stored:
                receipts[place] = _compared(place, key, sent=sent, stored=stored[one])
    for repeat in batch.repeats:
        kept = stored.get(repeat.id, repeat.first)
        receipts[repeat.place] = _compared(
            repeat.place, repeat.key, sent=repeat.fingerprint, stored=kept
        )
    return receipts


def _told_apart(events: Events) -> tuple[Events, list[_Repeat]]:
    """Return the events with each key once, and those that repeat one."""
    if len(set(events.ids)) == len(events.ids):
        return events, []
    first: dict[bytes, bytes] = {}
    kept, repeats = [], []
    for index, (one, fingerprint) in enumerate(zip(events.ids, events.fingerprints, strict=True)):
        if one in first:
            place, key = events.places[index], events.keys[index]
            repeats.append(_Repeat(place, key, one, fingerprint, first[one]))
        else:
            first[one] = fingerprint
            kept.append(index)
    return events.only(kept), repeats


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
    sender: Sender, events: Events, expected: Expectations, at: datetime
) -> dict[str, Any]:
    # each name and each subject is looked up once
    names, name_places = arrays.places(events.names)
    subjects, subject_places = arrays.places(list(zip(events.kinds, events.subjects, strict=True)))
    ids = [subject_ids(kind, subject) for kind, subject in subjects]
    return {
        "tenant": sender.tenant_id,
        "key": sender.key_id,
        "max_age": sender.max_age,
        "max_ahead": sender.max_ahead,
        "stamp": expected.stamp,
        "at": at,
        "ids": arrays.uuids(events.ids),
        "fingerprints": arrays.uuids(events.fingerprints),
        "keys": arrays.texts(events.keys),
        "times": arrays.instants(events.times),
        "values": arrays.optional_texts(events.values),
        "documents": arrays.documents(events.documents),
        "name_places": name_places,
        "subject_places": subject_places,
        "names": arrays.texts(names),
        "unknown": arrays.booleans([name not in expected.by_event for name in names]),
        "kinds": arrays.few_texts([kind for kind, _ in subjects]),
        "subjects": arrays.texts([subject for _, subject in subjects]),
        "customers": arrays.optional_uuids([customer for customer, _ in ids]),
        "subscriptions": arrays.optional_uuids([subscription for _, subscription in ids]),
    }


class _Answer(NamedTuple):
    """What ``metering_store`` returns."""

    is_current: bool
    is_admitted: bool
    known: Sequence[UUID] | None
    fingerprints: Sequence[UUID] | None
    orphans: Sequence[str] | None
    reasons: Sequence[str] | None


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
        row = cursor.execute(_STORE, parameters, prepare=True).fetchone()
    if row is None:
        raise RuntimeError("the statement always returns one row")
    return _Answer(*row)


def _compared(place: int, key: str, *, sent: bytes, stored: bytes) -> Receipt:
    if sent == stored:
        return Receipt(place, ReceiptStatus.DUPLICATE, key)
    return Receipt(place, ReceiptStatus.CONFLICT, key, stored=stored.hex(), sent=sent.hex())


def _rejected(refusal: Refusal) -> Receipt:
    item, why = refusal.item, refusal.why
    key = item.get("idempotency_key") if isinstance(item, dict) else None
    return Receipt(
        refusal.place,
        ReceiptStatus.REJECTED,
        key if isinstance(key, str) and len(key) <= LONGEST_KEY else None,
        field=why.field or None,
        reason=why.code,
        detail=why.detail,
    )
