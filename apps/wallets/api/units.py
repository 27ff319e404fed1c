"""Units of credit, and what meters take in them."""

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response

from apps.metering.queries.meters import meter_named
from apps.tenants.queries import tenant_of
from apps.wallets.api.answers import CreditPriceView, CreditUnitView
from apps.wallets.api.bodies import CreditPriceBody, CreditUnitBody
from apps.wallets.api.door import CreditDoor
from apps.wallets.models import (
    CreditPrice,
    CreditUnit,
)
from apps.wallets.operations.wallets import create_unit, price_meter
from apps.wallets.queries import (
    prices_of,
    unit_named,
    units_of,
)


class CreditUnits(CreditDoor):
    """Credit that is no money."""

    serializer_class = CreditUnitView
    own_name = "key"

    def get_queryset(self) -> QuerySet[CreditUnit]:
        return units_of(self.tenant_id)

    @extend_schema(
        request=CreditUnitBody,
        responses={201: CreditUnitView},
        examples=[
            OpenApiExample(
                "Credits worth a tenth of a cent",
                request_only=True,
                value={
                    "key": "api-credits",
                    "name": "API credits",
                    "currency": "USD",
                    "rate": "0.001",
                },
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Create a unit of credit; it never changes."""
        given = self.read(CreditUnitBody)
        given.setdefault("currency", tenant_of(self.tenant_id).currency)
        unit = create_unit(self.tenant_id, id=self.effect_id, **given, actor=self.actor, at=self.at)
        return Response(CreditUnitView(unit).data, status=status.HTTP_201_CREATED)


class CreditPrices(CreditDoor):
    """How much credit meters take, for wallets that are settled on event."""

    serializer_class = CreditPriceView

    def get_queryset(self) -> QuerySet[CreditPrice]:
        return prices_of(self.tenant_id)

    @extend_schema(
        request=CreditPriceBody,
        responses={201: CreditPriceView},
        examples=[
            OpenApiExample(
                "A credit a call",
                request_only=True,
                value={"meter": "api-calls", "unit": "api-credits", "price": "1"},
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Price the events of a meter in credit; the price never changes."""
        given = self.read(CreditPriceBody)
        unit = unit_named(self.tenant_id, given["unit"]) if "unit" in given else None
        price = price_meter(
            meter_named(self.tenant_id, given["meter"]),
            id=self.effect_id,
            unit=unit,
            currency=given.get("currency", ""),
            price=given["price"],
            actor=self.actor,
            at=self.at,
        )
        return Response(CreditPriceView(price).data, status=status.HTTP_201_CREATED)
