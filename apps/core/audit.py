"""The hash chain over a tenant's audit events: sealing new ones and verifying all.

An event is sealed within a minute of its commit. The sealer reads only what is below the
snapshot horizon (every transaction that could still write such rows has ended), so a slow
transaction's event is never skipped, and the order of the chain is final.
"""

import hashlib
import json
from collections.abc import Iterator
from typing import Final
from uuid import UUID

from django.db import connection, transaction

from apps.core.failpoints import failpoint
from apps.core.ids import encode
from apps.core.models import AuditEvent, AuditHead, AuditPending, AuditSeal
from apps.core.tenancy import tenant_scope, tenants_by

GENESIS: Final = bytes(32)

# In a database restored from a dump the counter of transactions may stand below what it was:
# a row that we see although its number is not given out yet is of the time before.
_UNSEALED: Final = """
SELECT event_id FROM core_auditpending
WHERE tenant_id = %s AND (written_xid < pg_snapshot_xmin(pg_current_snapshot())
                       OR written_xid >= pg_snapshot_xmax(pg_current_snapshot()))
ORDER BY written_xid, event_id LIMIT %s
"""


def seal_events(*, batch: int = 5000) -> int:
    """Link every committed event that has no link yet; return how many were linked.

    Safe to run at any time and twice at once: a tenant's head row is locked while its chain
    grows.
    """
    sealed = 0
    for tenant_id in tenants_by("core_tenants_to_seal"):
        with tenant_scope(tenant_id):
            while (linked := _seal_batch(tenant_id, batch)) > 0:
                sealed += linked
    return sealed


@transaction.atomic
def _seal_batch(tenant_id: UUID, batch: int) -> int:
    AuditHead.objects.bulk_create(
        [AuditHead(tenant_id=tenant_id, number=0, hash=GENESIS)], ignore_conflicts=True
    )
    head = AuditHead.objects.select_for_update().get(tenant_id=tenant_id)
    with connection.cursor() as cursor:
        cursor.execute(_UNSEALED, [tenant_id, batch])
        order = [row[0] for row in cursor.fetchall()]
    if not order:
        return 0
    events = AuditEvent.objects.in_bulk(order)
    number, digest = head.number, bytes(head.hash)
    seals = []
    for event_id in order:
        number += 1
        digest = link(digest, number, events[event_id])
        seals.append(AuditSeal(tenant_id=tenant_id, number=number, event_id=event_id, hash=digest))
    AuditSeal.objects.bulk_create(seals)
    failpoint("core.audit.after_seals")
    AuditPending.objects.filter(event_id__in=order).delete()
    head.number, head.hash = number, digest
    head.save()
    failpoint("core.audit.before_commit")
    return len(seals)


def link(previous: bytes, number: int, event: AuditEvent) -> bytes:
    """Return SHA-256 over the previous hash, the number and the event's canonical JSON."""
    text = json.dumps(
        [
            number,
            str(event.id),
            str(event.tenant_id),
            event.type,
            event.object_type,
            event.object_id,
            event.actor,
            event.at.isoformat(),
            event.data,
        ],
        sort_keys=True,
        separators=(",", ":"),
    )
    return hashlib.sha256(previous + text.encode()).digest()


def chain_end(tenant_id: UUID) -> tuple[int, bytes] | None:
    """Return the number of events and the last hash of the tenant's chain.

    Of one that has lost its head, 0 and zeros; None where nothing has been sealed.
    """
    head = AuditHead.objects.filter(tenant_id=tenant_id).first()
    if head is not None:
        return head.number, bytes(head.hash)
    return (0, GENESIS) if AuditSeal.objects.filter(tenant_id=tenant_id).exists() else None


def verify_chain(tenant_id: UUID) -> Iterator[str]:
    """Yield what is wrong with the tenant's chain: a sentence per broken link, none if it holds."""
    head = AuditHead.objects.filter(tenant_id=tenant_id).first()
    end, expected = (head.number, bytes(head.hash)) if head else (0, GENESIS)
    number, digest = 0, GENESIS
    seals = AuditSeal.objects.filter(tenant_id=tenant_id).select_related("event")
    # what is sealed while this reads comes after the head read above, and is for the next time
    for seal in seals.filter(number__lte=end).order_by("number").iterator(chunk_size=2000):
        number += 1
        digest = link(digest, number, seal.event)
        if seal.number != number or bytes(seal.hash) != digest:
            yield (
                f"broken at {number}: {seal.event.type} {encode('aud', seal.event.id)}"
                f" does not match its seal {seal.number}"
            )
            return
    if (end, expected) != (number, digest):
        yield f"the chain ends at {number}, but its head says {end}"
    last = seals.order_by("-number").values_list("number", flat=True).first() or 0
    grown = AuditHead.objects.filter(tenant_id=tenant_id).values_list("number", flat=True).first()
    if last > (grown or 0):
        yield f"there are seals up to {last}, but the head says {grown or 0}"
