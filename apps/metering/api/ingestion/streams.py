"""Events in the caller's own words; the stream says where things lie in them."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema

from apps.core.errors import NotFound
from apps.metering.api.bodies import fingerprint
from apps.metering.api.ingestion.answers import about_many, about_one, renamed
from apps.metering.api.ingestion.door import BATCH_BYTES, Caller, EventDoor, body_batch, body_object
from apps.metering.api.schemas import RECEIPT, RECEIPTS
from apps.metering.domain import Receipt
from apps.metering.models import EventStream
from apps.metering.operations import ingest_batch
from apps.metering.paths import find, parse_path


class _StreamDoor(EventDoor):
    def stream(self, caller: Caller, handle: str) -> EventStream:
        """Return the stream with this handle or id that takes events; raise ``NotFound``."""
        streams = EventStream.objects.filter(tenant_id=caller.sender.tenant_id, archived_at=None)
        found = streams.filter(handle=handle).first() if "\x00" not in handle else None
        if found is None:
            raise NotFound(f"There is no stream {handle[:64]!r} that takes events.")
        return found


class StreamEvents(_StreamDoor):
    """One event of a stream, in the caller's own words."""

    @extend_schema(
        operation_id="streams_events_create",
        request={"application/json": {"type": "object"}},
        responses={
            202: OpenApiResponse(RECEIPT, "Stored"),
            200: OpenApiResponse(RECEIPT, "Stored before"),
        },
        examples=[
            OpenApiExample(
                "Your own JSON",
                request_only=True,
                value={"account_id": "acct_123456", "clicks": 100, "other": "other-thing"},
            )
        ],
    )
    def post(self, request: HttpRequest, handle: str) -> None:
        """Report one event in your own JSON; the stream says where things lie in it."""

    def take(self, value: Any, caller: Caller, request: HttpRequest, **kwargs: str) -> HttpResponse:
        stream = self.stream(caller, kwargs["handle"])
        item = _in_our_words(stream, body_object(value))
        receipt = caller.ingest(item)
        return about_one(_in_their_words(stream, receipt))


class StreamBulk(_StreamDoor):
    """Up to 1,000 events of a stream."""

    most_bytes = BATCH_BYTES

    @extend_schema(
        operation_id="streams_events_bulk_create",
        request={"application/json": {"type": "array", "items": {"type": "object"}}},
        responses={202: OpenApiResponse(RECEIPTS, "All that is accepted is committed")},
        examples=[
            OpenApiExample(
                "Your own JSON",
                request_only=True,
                value=[{"account_id": "acct_123456", "clicks": 100}],
            )
        ],
    )
    def post(self, request: HttpRequest, handle: str) -> None:
        """Report up to 1,000 events in your own JSON; each gets its receipt."""

    def take(self, value: Any, caller: Caller, request: HttpRequest, **kwargs: str) -> HttpResponse:
        stream = self.stream(caller, kwargs["handle"])
        items = [_in_our_words(stream, item) for item in body_batch(value, "")]
        receipts = ingest_batch(caller.sender, items, at=caller.at)
        return about_many([_in_their_words(stream, receipt) for receipt in receipts])


def _in_our_words(stream: EventStream, item: Any) -> Any:
    """Return an event of a stream as one of ours; what is no object stays, to be refused."""
    if not isinstance(item, dict):
        return item
    found = {
        "subject": _as_name(_at(item, stream.subject_path)),
        "timestamp": _at(item, stream.timestamp_path),
        "value": _at(item, stream.value_path),
    }
    key = _as_name(_at(item, stream.key_path))
    if not stream.key_path:
        key = f"{stream.handle}:{fingerprint(item)}"
    return {
        **{name: value for name, value in found.items() if value is not None},
        "idempotency_key": key,
        "event_name": stream.event_name,
        "properties": item,
    }


def _at(item: Mapping[str, Any], path: str) -> Any:
    return find(item, parse_path(path)) if path else None


def _as_name(value: Any) -> Any:
    """Return a number as the text that names something."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _in_their_words(stream: EventStream, receipt: Receipt) -> Receipt:
    return renamed(
        receipt,
        {
            "subject": stream.subject_path,
            "timestamp": stream.timestamp_path,
            "value": stream.value_path,
            "idempotency_key": stream.key_path,
        },
    )
