"""Tax rates over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.web.fields import StrictSerializer
from apps.core.web.views import Door, Reader, text
from apps.taxes.api.serializers import EndBody, TaxRateBody, TaxRateView
from apps.taxes.models import TaxRate
from apps.taxes.operations import archive_tax_rate, create_tax_rate, end_tax_rate
from apps.taxes.queries import tax_rates_for

_EXAMPLE: Final[Mapping[str, Any]] = {
    "key": "de-vat-standard",
    "tax": "vat",
    "name": "VAT 19 %",
    "percentage": "19",
    "country": "DE",
}


class TaxRates(Door):
    """What tax applies where, to what, and when."""

    resource = "taxes"
    own_name = "key"
    serializer_class = TaxRateView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "key": ("key", text),
        "tax": ("tax", text),
        "country": ("country", text),
    }

    def get_queryset(self) -> QuerySet[TaxRate]:
        return tax_rates_for(self.tenant_id)

    @extend_schema(
        request=TaxRateBody,
        responses={201: TaxRateView},
        examples=[OpenApiExample("The standard rate", request_only=True, value=_EXAMPLE)],
    )
    def create(self, request: Request) -> Response:
        """Add a rate; it applies to what is billed from now on."""
        rate = create_tax_rate(
            self.tenant_id,
            id=self.effect_id,
            **self.read(TaxRateBody),
            actor=self.actor,
            at=self.at,
        )
        return Response(TaxRateView(rate).data, status.HTTP_201_CREATED)

    @extend_schema(
        request=EndBody,
        responses=TaxRateView,
        examples=[
            OpenApiExample(
                "With the year", request_only=True, value={"valid_until": "2027-01-01T00:00:00Z"}
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        """End a rate; what is served later has the rate that succeeds it."""
        rate: TaxRate = self.get_object()
        rate = end_tax_rate(
            rate.id,
            tenant_id=self.tenant_id,
            **self.read(EndBody),
            actor=self.actor,
            at=self.at,
        )
        return Response(TaxRateView(rate).data)

    @extend_schema(request=None, responses=TaxRateView)
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, pk: str) -> Response:
        """Let a rate apply to nothing new."""
        self.read(StrictSerializer)
        rate: TaxRate = self.get_object()
        rate = archive_tax_rate(rate.id, tenant_id=self.tenant_id, actor=self.actor, at=self.at)
        return Response(TaxRateView(rate).data)
