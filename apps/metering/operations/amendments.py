"""Correcting what events say: void, replace, backfill, and undo.

The events themselves never change. An amendment lays signed facts over them, each with the
transaction that made it, so that readers see at any snapshot what counted then.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, TypeAlias, assert_never
from uuid import UUID

from django.db import connection, transaction

from apps.core.errors import FieldError, NotFound
from apps.core.events import Happening, record, record_all
from apps.core.failpoints import failpoint
from apps.core.ids import encode
from apps.core.money import EXACT, plain
from apps.customers.models import Customer
from apps.metering.domain import (
    MOST_REPLACED,
    MOST_VOIDED,
    AmendmentAction,
    AmendmentInvalid,
    AmendmentOrder,
    AmendmentOverlaid,
    AmendmentUndone,
    Backfilling,
    EventChange,
    EventSelection,
    EventsGone,
    NothingMatched,
    ReceiptStatus,
    Replacing,
    Sender,
    TooManyMatched,
    Undoing,
    Voiding,
)
from apps.metering.models import EventAmendment
from apps.metering.operations.ingestion import ingest_batch
from apps.metering.queries.amendments import StoredEvent, events_selected, events_stored_now
from apps.metering.queries.books import kept_since
from apps.metering.queries.senders import sender_of
from apps.tenants.models import Tenant

_CHUNK: Final = 1_000
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LOCK: Final = 48_031  # of amendments, among advisory locks of two numbers

_TURN: Final = "SELECT pg_advisory_xact_lock(%s, hashtext(%s))"
_LAY: Final = """
INSERT INTO metering_eventeffect
  (tenant_id, amendment_id, seq, sign, event_id, key, customer_id, subscription_id, event_name,
   occurred_at, event_xid)
SELECT %s, %s, i.seq, %s, i.id, i.key, i.customer, i.subscription, i.name, i.at, i.xid::xid8
FROM unnest(%s::bigint[], %s::uuid[], %s::text[], %s::uuid[], %s::uuid[], %s::text[],
            %s::timestamptz[], %s::text[])
     AS i(seq, id, key, customer, subscription, name, at, xid)
"""
_OVERLAID: Final = """
SELECT count(*) FROM metering_eventeffect x
WHERE x.amendment_id = %(undone)s
  AND (SELECT sum(y.sign) FROM metering_eventeffect y
       WHERE y.seq = x.seq AND y.number > x.number) <> 0
"""
_TAKE_BACK: Final = """
INSERT INTO metering_eventeffect
  (tenant_id, amendment_id, seq, sign, event_id, key, customer_id, subscription_id, event_name,
   occurred_at, event_xid)
SELECT x.tenant_id, %(id)s, x.seq, CASE x.sign WHEN -1 THEN 1 ELSE -1 END, x.event_id, x.key,
       x.customer_id, x.subscription_id, x.event_name, x.occurred_at, x.event_xid
FROM metering_eventeffect x WHERE x.amendment_id = %(undone)s ORDER BY x.number
"""
_TOLD: Final = """
SELECT count(*) FILTER (WHERE sign = -1), count(*) FILTER (WHERE sign = 1),
       count(*) FILTER (WHERE sign = 0), array_agg(DISTINCT customer_id), min(occurred_at),
       max(occurred_at)
FROM metering_eventeffect WHERE amendment_id = %s
"""
# with the effects, so that no billing run sees the one without the other
_MARK: Final = """
INSERT INTO metering_changedusage AS c (customer_id, tenant_id, since, mark)
SELECT x.customer_id, x.tenant_id, min(x.occurred_at), nextval('metering_changedusage_mark')
FROM metering_eventeffect x WHERE x.amendment_id = %s
GROUP BY 1, 2 ORDER BY 1
ON CONFLICT (customer_id) DO UPDATE
SET since = least(c.since, excluded.since), mark = excluded.mark
"""


@transaction.atomic
def amend_events(
    tenant_id: UUID,
    order: AmendmentOrder,
    *,
    id: UUID,  # noqa: A002 -- the id of what is created
    reason: str,
    actor: str,
    at: datetime,
) -> EventAmendment:
    """Correct events by an audited overlay, and return it; a repeat returns what there is.

    Usage is measured accordingly from the commit on, and customers are marked changed from the
    earliest instant concerned, so that the next run bills or credits the difference. A tenant's
    amendments happen one after the other. Replacements and what is brought in are events of their
    own, as strictly read as any, and however old. Nothing is done in part: raises
    ``AmendmentInvalid`` with everything that is wrong, ``NothingMatched``, ``TooManyMatched``,
    ``EventsGone`` for a time that retention has dropped, ``NotFound``, ``AmendmentUndone`` and
    ``AmendmentOverlaid``.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TURN, [_LOCK, str(tenant_id)])
    known = EventAmendment.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    amendment = EventAmendment(
        id=id, tenant_id=tenant_id, reason=reason, actor=actor, created_at=at
    )
    match order:
        case Voiding():
            amendment.action = AmendmentAction.VOID
            amendment.selected = dict(order.selection.told)
            found = _selected(tenant_id, order.selection, most=MOST_VOIDED)
            _lay(amendment, -1, found)
        case Replacing():
            amendment.action = AmendmentAction.REPLACE
            amendment.selected = dict(order.selection.told)
            amendment.change = {} if order.by_key else _told(order.change)
            _replace(amendment, order)
        case Backfilling():
            amendment.action = AmendmentAction.BACKFILL
            amendment.selected = {"events": len(order.items)}
            _backfill(amendment, order)
        case Undoing():
            amendment.action = AmendmentAction.UNDO
            _take_back(amendment, order)
        case _:
            assert_never(order)
    failpoint("metering.amend.after_effects")
    customers = _count(amendment)
    amendment.save(force_insert=True)
    with connection.cursor() as cursor:
        cursor.execute(_MARK, [id])
    failpoint("metering.amend.after_mark")
    _record(amendment, customers)
    return amendment


# --- what is asked for --------------------------------------------------------------------------


def _selected(tenant_id: UUID, selection: EventSelection, *, most: int) -> list[StoredEvent]:
    """Return the events meant, all of which count."""
    _refuse_gone(selection.start)
    found = events_selected(tenant_id, selection, most=most)
    if selection.keys:
        _refuse_missing(selection.keys, found)
    if len(found) > most:
        raise TooManyMatched(
            f"More than {most:,} events match; amend a shorter stretch of time, or one customer."
        )
    if not found:
        raise NothingMatched("No event that counts matches.")
    for one in found:
        _refuse_gone(one.occurred_at)
    return found


def _refuse_missing(keys: Sequence[str], found: Sequence[StoredEvent]) -> None:
    by_key = {one.key: one for one in found}
    errors = []
    for place, key in enumerate(keys):
        path = f"keys[{place}]"
        if key not in by_key:
            errors.append(FieldError(path, "event_unknown", f"There is no usage event {key!r}."))
        elif not by_key[key].counts:
            errors.append(
                FieldError(path, "event_voided", f"The event {key!r} does not count any more.")
            )
    if errors:
        raise AmendmentInvalid(errors=errors)


def _refuse_gone(since: datetime | None) -> None:
    before = kept_since()
    if since is not None and before is not None and since < before:
        raise EventsGone(
            f"Events before {before:%Y-%m-%d} have been dropped; they cannot be amended."
        )


# --- what becomes of it -------------------------------------------------------------------------


def _lay(amendment: EventAmendment, sign: int, events: Sequence[StoredEvent]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            _LAY,
            [
                amendment.tenant_id,
                amendment.pk,
                sign,
                [one.seq for one in events],
                [one.id for one in events],
                [one.key for one in events],
                [one.customer_id for one in events],
                [one.subscription_id for one in events],
                [one.event_name for one in events],
                [one.occurred_at for one in events],
                [one.xid for one in events],
            ],
        )


def _replace(amendment: EventAmendment, order: Replacing) -> None:
    found = _selected(amendment.tenant_id, order.selection, most=MOST_REPLACED)
    places = {key: place for place, key in enumerate(order.selection.keys)}
    items, paths, errors = [], [], []
    for place, event in enumerate(found):
        path = f"replacements[{places[event.key]}]" if order.by_key else "change"
        change = order.change_of(event.key)
        if change.factor is not None and event.value is None:
            errors.append(FieldError(f"{path}.factor", "value_missing", f"{event.key!r} has none."))
        items.append(_item(event, change, key=f"{amendment.public_id}:{place}"))
        paths.append(path)
    if errors:
        raise AmendmentInvalid(errors=errors[:100])
    _lay(amendment, -1, found)
    # a replacement may lie wherever its original did, be that ahead on a customer's own clock
    at = amendment.created_at
    latest = max([at, *(one.occurred_at for one in found)])
    sender = Sender(amendment.tenant_id, at - _FIRST, latest - at, has_clocks=False)
    _bring_in(amendment, sender, items, paths)


def _item(event: StoredEvent, change: EventChange, *, key: str) -> dict[str, object]:
    """Return what is to take an event's place, as callers send events."""
    value = event.value if change.value is None else change.value
    if change.factor is not None and event.value is not None:
        value = EXACT.multiply(event.value, change.factor)
    properties = {**event.properties, **change.properties}
    kept = {
        name: one
        for name, one in properties.items()
        if change.properties.get(name, one) is not None
    }
    at = change.timestamp or event.occurred_at
    item: dict[str, object] = {
        "idempotency_key": key,
        "event_name": event.event_name,
        "timestamp": at.astimezone(UTC).isoformat(),
        "value": None if value is None else plain(value),
        "properties": kept,
    }
    if change.subject is not None:
        item[change.subject[0]] = change.subject[1]
    elif event.subscription_id is not None:
        item["subscription"] = encode("sub", event.subscription_id)
    else:
        item["customer"] = encode(Customer.ID_PREFIX, event.customer_id)
    return item


def _backfill(amendment: EventAmendment, order: Backfilling) -> None:
    policy = sender_of(Tenant.objects.get(pk=amendment.tenant_id))
    at = amendment.created_at
    sender = Sender(amendment.tenant_id, at - _FIRST, policy.max_ahead, policy.has_clocks)
    paths = [f"events[{place}]" for place in range(len(order.items))]
    _bring_in(amendment, sender, order.items, paths)


def _bring_in(
    amendment: EventAmendment, sender: Sender, items: Sequence[object], paths: Sequence[str]
) -> None:
    """Store events, every one of which must be new and match; raise with all that are not."""
    errors = []
    keys = []
    for first in range(0, len(items), _CHUNK):
        chunk = items[first : first + _CHUNK]
        receipts = ingest_batch(sender, chunk, at=amendment.created_at)
        for receipt, path in zip(receipts, paths[first : first + _CHUNK], strict=True):
            keys.append(receipt.idempotency_key or "")
            if receipt.status != ReceiptStatus.ACCEPTED:
                field = f"{path}.{receipt.field}" if receipt.field else path
                code = receipt.reason or f"event_{receipt.status}"
                detail = receipt.detail or f"The key {receipt.idempotency_key!r} is taken."
                errors.append(FieldError(field, code, detail))
            elif receipt.orphan is not None:
                errors.append(
                    FieldError(path, receipt.orphan, "It would match nothing that is billed.")
                )
    if errors:
        raise AmendmentInvalid(errors=errors[:100])
    stored = events_stored_now(amendment.tenant_id, keys)
    for one in stored:
        _refuse_gone(one.occurred_at)
    _lay(amendment, 0, stored)


def _take_back(amendment: EventAmendment, order: Undoing) -> None:
    undone = EventAmendment.objects.filter(
        pk=order.amendment_id, tenant_id=amendment.tenant_id
    ).first()
    if undone is None:
        raise NotFound("There is no such amendment.")
    if EventAmendment.objects.filter(undoes=undone).exists():
        raise AmendmentUndone(f"{undone.public_id} has been undone already.")
    _refuse_gone(undone.since)
    parameters = {"id": amendment.pk, "undone": undone.pk}
    with connection.cursor() as cursor:
        cursor.execute(_OVERLAID, parameters)
        (overlaid,) = cursor.fetchone()
        if overlaid:
            raise AmendmentOverlaid(
                f"{overlaid:,} of its events were amended again since; undo that first."
            )
        cursor.execute(_TAKE_BACK, parameters)
    amendment.undoes = undone


# --- what is told of it -------------------------------------------------------------------------

_Customers: TypeAlias = list[UUID]


def _count(amendment: EventAmendment) -> _Customers:
    with connection.cursor() as cursor:
        cursor.execute(_TOLD, [amendment.pk])
        voided, restored, added, customers, since, until = cursor.fetchone()
    amendment.voided, amendment.restored, amendment.added = voided, restored, added
    amendment.customers = len(customers)
    amendment.since, amendment.until = since, until
    return sorted(customers)


def _record(amendment: EventAmendment, customers: _Customers) -> None:
    actor, at = amendment.actor, amendment.created_at
    record(
        "event_amendment.applied",
        amendment,
        actor=actor,
        at=at,
        action=amendment.action,
        reason=amendment.reason,
        voided=amendment.voided,
        restored=amendment.restored,
        added=amendment.added,
    )
    told = {"amendment": amendment.public_id}
    record_all(
        [
            Happening("usage.corrected", amendment.tenant_id, Customer.ID_PREFIX, customer_id, told)
            for customer_id in customers
        ],
        actor=actor,
        at=at,
    )


def _told(change: EventChange) -> dict[str, object]:
    """Return a change for keeping, as JSON has it."""
    subject = dict([change.subject]) if change.subject else {}
    told: dict[str, object] = {str(kind): name for kind, name in subject.items()}
    numbers = {"value": change.value, "factor": change.factor}
    told |= {name: plain(one) for name, one in numbers.items() if one is not None}
    if change.timestamp is not None:
        told["timestamp"] = change.timestamp.astimezone(UTC).isoformat()
    if change.properties:
        told["properties"] = sorted(change.properties)
    return told
