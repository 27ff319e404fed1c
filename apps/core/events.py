"""Recording what happened, in the transaction in which it happened."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import ClassVar, Protocol
from uuid import UUID

from django.conf import settings
from django.db import connection
from msgspec import Struct, json

from apps.core.bulk import Same, insert_rows
from apps.core.failpoints import failpoint
from apps.core.ids import encode, new_ids
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


class Happening(Struct, frozen=True):
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
    if not connection.in_atomic_block:
        raise RuntimeError("record an event in the transaction that makes the change")
    told = list(happenings)
    if not told:
        return
    # many happenings share what there is to say
    texts = {
        key: json.encode(dict(data))
        for key, data in {id(one.data): one.data for one in told}.items()
    }
    insert_rows(
        AuditEvent,
        {
            "id": new_ids(len(told)),
            "tenant_id": [one.tenant_id for one in told],
            "type": [one.type for one in told],
            "object_type": [one.type.partition(".")[0] for one in told],
            "object_id": [encode(one.prefix, one.object_id) for one in told],
            "actor": Same(actor),
            "at": Same(at),
            "data": [texts[id(one.data)] for one in told],
        },
    )
    failpoint("core.events.after_append")
    enqueue_all(
        NewJob(name, one.tenant_id, {"subject": str(one.object_id)})
        for one in told
        for name in settings.REACTIONS.get(one.type, ())
    )
