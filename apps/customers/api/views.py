"""Customers over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.money import CURRENCIES
from apps.core.web.views import Door, Reader, id_of, instant, one_of, text
from apps.customers.api.serializers import CustomerBody, CustomerChanges, CustomerView
from apps.customers.domain import TaxExempt
from apps.customers.models import Customer
from apps.customers.operations import change_customer, create_customer
from apps.customers.queries import customers_for
from apps.tenants.queries import tenant_of

_EXAMPLE: Mapping[str, Any] = {
    "external_id": "crm-4711",
    "name": "Globex",
    "email": "billing@globex.example",
    "currency": "EUR",
    "zone": "Europe/Berlin",
    "address": {"line1": "Hauptstr. 1", "city": "Berlin", "postal_code": "10115", "country": "DE"},
    "tax_ids": [{"kind": "eu_vat", "value": "DE136695976"}],
    "metadata": {"segment": "enterprise"},
}


class Customers(Door):
    """Who is billed."""

    resource = "customers"
    own_name = "external_id"
    serializer_class = CustomerView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "external_id": ("external_id", text),
        "email": ("email__iexact", text),
        "currency": ("currency", one_of(*CURRENCIES)),
        "payment_provider_customer_id": ("payment_provider_customer_id", text),
        "test_clock": ("test_clock_id", id_of("clk")),
        "created_from": ("created_at__gte", instant),
        "created_before": ("created_at__lt", instant),
    }

    def get_queryset(self) -> QuerySet[Customer]:
        return customers_for(self.tenant_id).prefetch_related("tax_ids")

    @extend_schema(
        request=CustomerBody,
        responses={201: CustomerView},
        examples=[OpenApiExample("A company", request_only=True, value=_EXAMPLE)],
    )
    def create(self, request: Request) -> Response:
        """Create a customer; the currency and the time zone are the tenant's if left out."""
        given = _as_pairs(self.read(CustomerBody))
        if not {"currency", "zone"} <= given.keys():
            tenant = tenant_of(self.tenant_id)
            given = {"currency": tenant.currency, "zone": tenant.zone, **given}
        customer = create_customer(
            self.tenant_id, id=self.effect_id, **given, actor=self.actor, at=self.at
        )
        return Response(CustomerView(customer).data, status=status.HTTP_201_CREATED)

    @extend_schema(
        request=CustomerChanges,
        responses=CustomerView,
        examples=[
            OpenApiExample(
                "Another address for invoices",
                request_only=True,
                value={"email": "invoices@globex.example", "tax_ids": []},
            )
        ],
    )
    def partial_update(self, request: Request, pk: str) -> Response:
        """Change a customer; issued documents keep what they show."""
        customer: Customer = self.get_object()
        given = _as_pairs(self.read(CustomerChanges))
        customer = change_customer(
            customer.id, tenant_id=self.tenant_id, **given, actor=self.actor, at=self.at
        )
        return Response(CustomerView(customer).data)


def _as_pairs(given: dict[str, Any]) -> dict[str, Any]:
    if "tax_ids" in given:
        given["tax_ids"] = [(one["kind"], one["value"]) for one in given["tax_ids"]]
    if "tax_exempt" in given:
        given["tax_exempt"] = TaxExempt(given["tax_exempt"])
    return given
