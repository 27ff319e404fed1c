"""Making orphans the usage events that they were meant to be."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from apps.core.failpoints import failpoint
from apps.core.money import plain
from apps.core.states import move_all
from apps.metering.domain import (
    ORPHAN_TRANSITIONS,
    OrphanReason,
    OrphanStatus,
    SubjectKind,
)
from apps.metering.intake import EventRefused, Expectations, check_fit, event_id, subject_ids
from apps.metering.models import OrphanEvent
from apps.metering.queries.expectations import refreshed_expectations

CHUNK: Final = 500

# their keys were stored when they arrived; the lock on the orphans makes this happen once
_ATTACH: Final = """
WITH placed AS MATERIALIZED (
  SELECT o.*, i.event_id, i.name, s.customer_id, s.subscription_id,
         CASE WHEN s.customer_id IS NULL THEN 'unknown_subject'
              WHEN o.occurred_at < s.opens_at OR o.occurred_at >= s.closes_at
                THEN 'outside_subscription' END AS obstacle
  FROM unnest(%(orphans)s::uuid[], %(event_ids)s::uuid[], %(names)s::text[], %(kinds)s::text[],
              %(subjects)s::text[], %(customers)s::uuid[], %(subscriptions)s::uuid[])
       AS i(orphan, event_id, name, kind, subject, customer, subscription)
  JOIN metering_orphanevent o ON o.id = i.orphan
  LEFT JOIN LATERAL metering_subject(o.tenant_id, i.kind, i.subject, i.customer, i.subscription)
    AS s ON true
), stored AS (
  INSERT INTO metering_usageevent
    (tenant_id, id, customer_id, subscription_id, event_name, occurred_at, value, properties, key,
     received_at)
  SELECT tenant_id, event_id, customer_id, subscription_id, name, occurred_at, value, properties,
         key, received_at
  FROM placed WHERE obstacle IS NULL ORDER BY id
)
SELECT id, obstacle FROM placed
"""


@dataclass(frozen=True, slots=True)
class Reattached:
    """How many orphans became usage events, and how many of those looked at did not."""

    attached: int
    left: int


def reattach_orphans(
    tenant_id: UUID,
    which: Q,
    *,
    event_name: str | None = None,
    subject: tuple[SubjectKind, str] | None = None,
    actor: str,
    at: datetime,
) -> Reattached:
    """Make usage events of the tenant's open orphans that now match, chunk by chunk.

    ``which`` selects among them; ``event_name`` and ``subject`` are put in the place of what they
    say. One that still matches nothing stays, with the reason why. Each becomes an event once,
    whoever else does this at the same time, and a repeat finds it done.
    """
    attached = left = 0
    after: UUID | None = None
    while True:
        chunk = _reattach(
            tenant_id, which, after, event_name=event_name, subject=subject, actor=actor, at=at
        )
        if chunk is None:
            return Reattached(attached, left)
        done, remained, after = chunk
        attached += done
        left += remained


@transaction.atomic
def _reattach(
    tenant_id: UUID,
    which: Q,
    after: UUID | None,
    *,
    event_name: str | None,
    subject: tuple[SubjectKind, str] | None,
    actor: str,
    at: datetime,
) -> tuple[int, int, UUID] | None:
    rows = OrphanEvent.objects.filter(
        which, tenant_id=tenant_id, status=OrphanStatus.OPEN
    ).annotate(exact=Cast("properties", TextField()))
    if after is not None:
        rows = rows.filter(pk__gt=after)
    orphans = list(rows.order_by("pk").select_for_update(skip_locked=True, no_key=True)[:CHUNK])
    if not orphans:
        return None
    expected = refreshed_expectations(tenant_id)
    obstacles: dict[UUID, OrphanReason | None] = {}
    ready = []
    for orphan in orphans:
        name = _known_name(event_name or orphan.event_name, expected)
        obstacles[orphan.pk] = _obstacle(orphan, orphan.exact, name, expected)
        if name is not None and obstacles[orphan.pk] is None:
            ready.append(
                (orphan, name, subject or (SubjectKind(orphan.subject_kind), orphan.subject))
            )
    obstacles |= _attach(tenant_id, ready)
    failpoint("metering.orphans.after_attach")
    attached = [orphan for orphan in orphans if obstacles[orphan.pk] is None]
    for orphan in attached:
        orphan.attached_at = at
    move_all(
        attached,
        to=OrphanStatus.ATTACHED,
        allowed=ORPHAN_TRANSITIONS,
        actor=actor,
        at=at,
        also=["attached_at"],
    )
    changed = []
    for orphan in orphans:
        obstacle = obstacles[orphan.pk]
        if obstacle is not None and obstacle != orphan.reason:
            orphan.reason = obstacle
            changed.append(orphan)
    OrphanEvent.objects.bulk_update(changed, ["reason"])
    return len(attached), len(orphans) - len(attached), orphans[-1].pk


def _known_name(name: str, expected: Expectations) -> str | None:
    """Return the event name that a meter counts, if ``name`` is one or the key of a meter."""
    name = name if name in expected.by_event else expected.by_key.get(name, name)
    return name if name in expected.by_event else None


def _obstacle(
    orphan: OrphanEvent, exact: str, name: str | None, expected: Expectations
) -> OrphanReason | None:
    if name is None:
        return OrphanReason.UNKNOWN_METER
    try:
        properties = json.loads(exact, parse_float=Decimal)
        digits = None if orphan.value is None else plain(orphan.value)
        check_fit(expected.by_event[name], digits, properties)
    except EventRefused:
        return OrphanReason.UNFIT
    return None


def _attach(
    tenant_id: UUID, ready: Sequence[tuple[OrphanEvent, str, tuple[SubjectKind, str]]]
) -> Mapping[UUID, OrphanReason | None]:
    if not ready:
        return {}
    ids = [subject_ids(kind.value, subject) for _, _, (kind, subject) in ready]
    parameters: dict[str, Any] = {
        "orphans": [orphan.pk for orphan, _, _ in ready],
        "event_ids": [event_id(tenant_id, orphan.key) for orphan, _, _ in ready],
        "names": [name for _, name, _ in ready],
        "kinds": [str(kind) for _, _, (kind, _) in ready],
        "subjects": [subject for _, _, (_, subject) in ready],
        "customers": [customer for customer, _ in ids],
        "subscriptions": [subscription for _, subscription in ids],
    }
    with connection.cursor() as cursor:
        cursor.execute(_ATTACH, parameters)
        return {
            orphan_id: None if obstacle is None else OrphanReason(obstacle)
            for orphan_id, obstacle in cursor.fetchall()
        }
