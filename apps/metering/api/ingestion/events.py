"""Events in our words."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema

from apps.core.web.fields import unknown_field
from apps.core.web.parsing import refuse
from apps.metering.api.ingestion.answers import about_many, about_one
from apps.metering.api.ingestion.door import BATCH_BYTES, Caller, EventDoor, body_batch, body_object
from apps.metering.api.schemas import EVENT, EVENTS, RECEIPT, RECEIPTS
from apps.metering.operations import ingest_batch


class Events(EventDoor):
    """One event."""

    @extend_schema(
        operation_id="events_create",
        request={"application/json": EVENT},
        responses={
            202: OpenApiResponse(RECEIPT, "Stored"),
            200: OpenApiResponse(RECEIPT, "Stored before"),
        },
        examples=[
            OpenApiExample(
                "A call",
                request_only=True,
                value={
                    "idempotency_key": "req_7f8a9b2c3d4e5f6a",
                    "meter": "api_calls",
                    "customer": "crm-4711",
                    "timestamp": "2026-04-03T09:30:00Z",
                    "value": "1",
                    "properties": {"region": "eu"},
                },
            )
        ],
    )
    def post(self, request: HttpRequest) -> None:
        """Report one event. 202: it is committed; 200: it was before; 409: another one was."""

    def take(self, value: Any, caller: Caller, request: HttpRequest, **kwargs: str) -> HttpResponse:
        return about_one(caller.ingest(body_object(value)))


class EventBatch(EventDoor):
    """Up to 1,000 events."""

    most_bytes = BATCH_BYTES

    @extend_schema(
        operation_id="events_batch_create",
        request={"application/json": EVENTS},
        responses={202: OpenApiResponse(RECEIPTS, "All that is accepted is committed")},
        examples=[
            OpenApiExample(
                "Two events",
                request_only=True,
                value={
                    "events": [
                        {
                            "idempotency_key": "a-1",
                            "event_name": "storage.changed",
                            "subscription": "acct_123456",
                            "timestamp": "2026-04-03T09:30:00Z",
                            "properties": {"gigabytes": "1.5", "region": "eu-west"},
                        },
                        {
                            "idempotency_key": "a-2",
                            "meter": "api_calls",
                            "customer": "crm-4711",
                            "timestamp": "2026-04-03T09:31:00Z",
                            "value": 3,
                        },
                    ]
                },
            )
        ],
    )
    def post(self, request: HttpRequest) -> None:
        """Report up to 1,000 events; each gets its receipt, and a bad one loses no other."""

    def take(self, value: Any, caller: Caller, request: HttpRequest, **kwargs: str) -> HttpResponse:
        body = body_object(value)
        for name in body:
            if name != "events":
                refuse("unknown_field", unknown_field(name, ["events"]), name[:64])
        return about_many(
            ingest_batch(caller.sender, body_batch(body.get("events"), "events"), at=caller.at)
        )
