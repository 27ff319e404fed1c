"""Endpoints that take the caller's own JSON."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction

from apps.core.constraints import broken
from apps.core.errors import Conflict, FieldError, Invalid
from apps.core.events import record
from apps.core.locks import lock_row
from apps.metering.intake import EVENT_NAME
from apps.metering.models import EventStream
from apps.metering.paths import PathInvalid, parse_path


class StreamHandleTaken(Conflict):
    reason = "stream_handle_taken"


class StreamInvalid(Invalid):
    reason = "stream_invalid"


@dataclass(frozen=True, slots=True)
class StreamPaths:
    """Where in the caller's JSON things lie; "" for what is not in it."""

    subject: str
    timestamp: str = ""
    value: str = ""
    key: str = ""


_FIELDS: Final = ("subject", "timestamp", "value", "key")


@transaction.atomic
def create_stream(
    tenant_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- every create operation calls it so
    handle: str,
    event_name: str,
    paths: StreamPaths,
    actor: str,
    at: datetime,
) -> EventStream:
    """Create a stream and return it; a repeat returns what there is.

    Raises ``StreamHandleTaken``, and ``StreamInvalid`` with every path that is none.
    """
    known = EventStream.objects.filter(pk=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    _check(event_name, paths)
    stream = EventStream(
        id=id,
        tenant_id=tenant_id,
        handle=handle,
        event_name=event_name,
        subject_path=paths.subject,
        timestamp_path=paths.timestamp,
        value_path=paths.value,
        key_path=paths.key,
        created_at=at,
    )
    try:
        with transaction.atomic():
            stream.save(force_insert=True)
    except IntegrityError as error:
        if broken(error) != "stream_handle_once":
            raise
        raise StreamHandleTaken(f"There is a stream {handle!r} already.", field="handle") from error
    record("event_stream.created", stream, actor=actor, at=at, handle=handle)
    return stream


@transaction.atomic
def change_stream(
    stream_id: UUID,
    *,
    tenant_id: UUID,
    event_name: str,
    paths: StreamPaths,
    actor: str,
    at: datetime,
) -> EventStream:
    """Read what arrives from now on in this way; what arrived stays as it was read."""
    stream = lock_row(EventStream, stream_id, tenant_id=tenant_id)
    _check(event_name, paths)
    stream.event_name = event_name
    stream.subject_path = paths.subject
    stream.timestamp_path = paths.timestamp
    stream.value_path = paths.value
    stream.key_path = paths.key
    stream.save()
    record("event_stream.changed", stream, actor=actor, at=at)
    return stream


@transaction.atomic
def archive_stream(stream_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> EventStream:
    """Take no more events; a repeat changes nothing."""
    stream = lock_row(EventStream, stream_id, tenant_id=tenant_id)
    if stream.archived_at is None:
        stream.archived_at = at
        stream.save(update_fields=["archived_at"])
        record("event_stream.archived", stream, actor=actor, at=at)
    return stream


def _check(event_name: str, paths: StreamPaths) -> None:
    errors = []
    if not EVENT_NAME.fullmatch(event_name):
        errors.append(
            FieldError("event_name", "name_format", "1 to 100 printable characters, no spaces")
        )
    for name in _FIELDS:
        path = getattr(paths, name)
        if not path and name != "subject":
            continue
        try:
            parse_path(path)
        except PathInvalid as error:
            errors.append(FieldError(f"{name}_path", error.reason, error.detail))
    if errors:
        raise StreamInvalid(errors=errors)
