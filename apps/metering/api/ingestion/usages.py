"""Quantities used under a subscription."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema

from apps.core.errors import FieldError
from apps.core.ids import encode
from apps.core.web.fields import unknown_field
from apps.core.web.parsing import refuse
from apps.core.web.views import IdempotencyKeyInvalid
from apps.metering.api.ingestion.answers import about_one, renamed
from apps.metering.api.ingestion.door import Caller, EventDoor, body_object
from apps.metering.api.schemas import USAGE, USAGE_RECEIPT
from apps.metering.api.usage import subject_named
from apps.metering.models import UsageSubject
from apps.metering.queries import meter_named


class Usages(EventDoor):
    """A quantity used under a subscription."""

    @extend_schema(
        operation_id="subscriptions_usages_create",
        request={"application/json": USAGE},
        responses={
            202: OpenApiResponse(USAGE_RECEIPT, "Stored"),
            200: OpenApiResponse(USAGE_RECEIPT, "Stored before"),
        },
        examples=[
            OpenApiExample(
                "A thousand units at a price point",
                request_only=True,
                value={
                    "meter": "api_calls",
                    "quantity": 1000,
                    "price_point": "wholesale",
                    "memo": "My memo",
                },
            )
        ],
    )
    def post(self, request: HttpRequest, pk: str) -> None:
        """Report a quantity; the Idempotency-Key header is the event's key unless one is given."""

    def take(self, value: Any, caller: Caller, request: HttpRequest, **kwargs: str) -> HttpResponse:
        body = body_object(value)
        for name in body:
            if name not in USAGE["properties"]:
                refuse("unknown_field", unknown_field(name, USAGE["properties"]), name[:64])
        key = body.get("idempotency_key", request.headers.get("Idempotency-Key"))
        if key is None:
            raise IdempotencyKeyInvalid(
                errors=[
                    FieldError(
                        "Idempotency-Key",
                        "idempotency_key_required",
                        "Send an Idempotency-Key header, new for each usage and the same on"
                        " retries.",
                    )
                ]
            )
        for name in ("meter", "quantity"):
            if body.get(name) is None:
                refuse("required", f"Send the {name}.", name)
        tenant_id = caller.sender.tenant_id
        subject = subject_named(UsageSubject.objects.filter(tenant_id=tenant_id), kwargs["pk"])
        meter = meter_named(tenant_id, str(body["meter"]))
        extra = {name: body[name] for name in ("price_point", "memo") if body.get(name) is not None}
        item = {
            "idempotency_key": key,
            "meter": meter.key,
            "subscription": encode("sub", subject.pk),
            "value": body["quantity"],
            "timestamp": body.get("timestamp"),
            "properties": extra,
        }
        receipt = caller.ingest(item)
        names = {"value": "quantity", "properties.price_point": "price_point"}
        return about_one(
            renamed(receipt, names),
            object="usage",
            subscription=item["subscription"],
            meter=meter.key,
            quantity=body["quantity"],
            price_point=body.get("price_point"),
            memo=body.get("memo"),
        )
