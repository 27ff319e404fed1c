"""Recording what happened, in the transaction in which it happened."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol
from uuid import UUID

from django.conf import settings
from django.db import transaction

from apps.core.ids import encode
from apps.core.jobs import NewJob, enqueue_all
from apps.core.models import AuditEvent

JsonScalar = str | int | bool | None


class Recordable(Protocol):
    """A tenant's row that audit events can be about."""

    ID_PREFIX: ClassVar[str]

    @property
    def id(self) -> UUID: ...
    @property
    def tenant_id(self) -> UUID: ...


@dataclass(frozen=True, slots=True)
class Happening:
    """An audit event to be written: ``type`` is ``<noun>.<past participle>``."""

    type: str
    tenant_id: UUID
    prefix: str
    object_id: UUID
    data: Mapping[str, JsonScalar]


def record(
    event_type: str, subject: Recordable, *, actor: str, at: datetime, **data: JsonScalar
) -> None:
    """Append one audit event about ``subject`` and the jobs that ``reactions`` names for it.

    Both are rows of the caller's transaction: they exist exactly if the change does. Refuses to
    run outside a transaction.
    """
    happening = Happening(event_type, subject.tenant_id, subject.ID_PREFIX, subject.id, data)
    record_all([happening], actor=actor, at=at)


def record_all(happenings: Iterable[Happening], *, actor: str, at: datetime) -> None:
    """Append many audit events, and their jobs, in two statements; otherwise like ``record``."""
    if not transaction.get_connection().in_atomic_block:
        raise RuntimeError("record an event in the transaction that makes the change")
    events, jobs = [], []
    for happening in happenings:
        events.append(
            AuditEvent(
                tenant_id=happening.tenant_id,
                type=happening.type,
                object_type=happening.type.partition(".")[0],
                object_id=encode(happening.prefix, happening.object_id),
                actor=actor,
                at=at,
                data=dict(happening.data),
            )
        )
        jobs += [
            NewJob(name, happening.tenant_id, {"subject": str(happening.object_id)})
            for name in settings.REACTIONS.get(happening.type, ())
        ]
    AuditEvent.objects.bulk_create(events)
    enqueue_all(jobs)
