"""Invoices that might be, over HTTP."""

import json
from collections.abc import Mapping
from typing import Any, Final

from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.models import Plan, PlanVersion, PriceList
from apps.core.errors import NotFound
from apps.core.web.fields import (
    BoundaryField,
    CurrencyField,
    DecimalField,
    InstantField,
    NameField,
    ObjectField,
    StrictSerializer,
    WholeField,
    ZoneField,
    unknown_field,
)
from apps.core.web.views import Door, named
from apps.customers.queries import customers_for
from apps.invoicing.api.serializers import PreviewLineView, PreviewView
from apps.invoicing.derivation import encode_derivation
from apps.invoicing.operations.simulating import Hypothesis, simulate_invoice
from apps.invoicing.queries import documents_of

MOST_EVENTS: Final = 1_000
_EVENT: Final = ("event_name", "meter", "metric_key", "timestamp", "value", "properties")


@extend_schema_field(
    {
        "type": "object",
        "properties": {
            "event_name": {"type": "string"},
            "meter": {"type": "string"},
            "timestamp": {"type": "string", "format": "date-time"},
            "value": {"type": "string"},
            "properties": {"type": "object", "additionalProperties": True},
        },
    }
)
class SimulatedEventField(serializers.Field[Any, Any, Any, Any]):
    """An event as sent to `/events`, without key and subject; at the start unless it says when."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError("An event is a JSON object.", code="json_type")
        for name in data:
            if name not in _EVENT:
                raise serializers.ValidationError(
                    unknown_field(str(name), list(_EVENT)), code="unknown_field"
                )
        return data


class SimulationBody(StrictSerializer):
    """For whom, which plan, from when until when, and what is used."""

    customer = NameField(required=False, help_text="Whose currency, zone and taxes count.")
    currency = CurrencyField(required=False, help_text="Without a customer; else his.")
    zone = ZoneField(required=False, default="UTC")
    plan = NameField()
    plan_version = WholeField(required=False, min_value=1, help_text="The newest, or a draft.")
    price_list = NameField(required=False)
    quantity = DecimalField(required=False)
    start = InstantField()
    end = BoundaryField()
    events = serializers.ListField(
        child=SimulatedEventField(), required=False, max_length=MOST_EVENTS
    )

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if given["end"] <= given["start"]:
            raise serializers.ValidationError(
                {"end": ["The end is not after the start."]}, code="range_backwards"
            )
        if ("customer" in given) == ("currency" in given):
            raise serializers.ValidationError(
                {"customer": ["Give a customer, or the currency of one that is not."]},
                code="subject_ambiguous",
            )
        return given


class SimulatedLineView(PreviewLineView):
    """A line as it would be, and how it came about."""

    derivation = serializers.SerializerMethodField()

    @extend_schema_field({"type": "object", "additionalProperties": True})
    def get_derivation(self, line: Any) -> Any:
        """Return what an issued line stores of how it came about."""
        return json.loads(encode_derivation(line.derivation))


class SimulatedDocumentView(PreviewView):
    """A document as it would be; nothing of it is stored."""

    lines = SimulatedLineView(many=True)


class SimulationView(serializers.Serializer[Any]):
    """What would be billed."""

    object = ObjectField("invoice_simulation")
    plan = serializers.CharField()
    plan_version = serializers.IntegerField()
    start = InstantField()
    end = InstantField()
    documents = SimulatedDocumentView(many=True)


class Simulations(Door):
    """Invoices that might be."""

    resource = "invoices"
    serializer_class = SimulationView

    def get_queryset(self) -> Any:
        return documents_of(self.tenant_id).none()

    @extend_schema(
        tags=["simulations"],
        request=SimulationBody,
        responses=SimulationView,
        examples=[
            OpenApiExample(
                "What a million and a fifth of calls would cost on a draft",
                request_only=True,
                value={
                    "currency": "USD",
                    "plan": "growth",
                    "plan_version": 3,
                    "start": "2026-04-01T00:00:00Z",
                    "end": "2026-05-01T00:00:00Z",
                    "events": [{"meter": "api_calls", "value": "1200000"}],
                },
            )
        ],
    )
    def invoice(self, request: Request) -> Response:
        """Answer what would be billed for a plan and usage that need not exist; store nothing.

        As if a customer had this plan alone from the start on. The version may be a draft.
        """
        given = self.read(SimulationBody)
        like = None
        if "customer" in given:
            like = named(customers_for(self.tenant_id), given["customer"], own_name="external_id")
        version = self._version(given["plan"], given.get("plan_version"))
        price_list = None
        if "price_list" in given:
            lists = PriceList.objects.filter(tenant_id=self.tenant_id)
            price_list = named(lists, given["price_list"], own_name="key").pk
        more = {"quantity": given["quantity"]} if "quantity" in given else {}
        documents = simulate_invoice(
            self.tenant_id,
            Hypothesis(
                version_id=version.pk,
                start=given["start"],
                end=given["end"],
                currency=given.get("currency", ""),
                zone=given["zone"],
                like=like,
                price_list_id=price_list,
                events=given.get("events", ()),
                **more,
            ),
            actor=self.actor,
        )
        told = {
            "plan": version.plan.key,
            "plan_version": version.number,
            "start": given["start"],
            "end": given["end"],
            "documents": documents,
        }
        return Response(SimulationView(told).data)

    def _version(self, name: str, number: int | None) -> PlanVersion:
        plan: Plan = named(Plan.objects.filter(tenant_id=self.tenant_id), name, own_name="key")
        versions = plan.versions.select_related("plan").order_by("-number")
        found = versions.filter(number=number) if number is not None else versions
        version = found.first()
        if version is None:
            raise NotFound(f"The plan {plan.key} has no version {number}.", field="plan_version")
        return version
