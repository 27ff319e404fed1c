"""Offers of add-ons, over HTTP."""

from collections.abc import Mapping
from typing import Any, ClassVar

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.api.reading import documents_read
from apps.catalog.api.rules import OfferDocument
from apps.catalog.api.transitions import SideView
from apps.catalog.api.views import CatalogDoor
from apps.catalog.models import AddOnOffer, Plan
from apps.catalog.operations.offers import create_offer, delete_offer
from apps.catalog.queries import offers_for
from apps.core.web.fields import (
    DecimalField,
    IdField,
    InstantField,
    ObjectField,
    StrictSerializer,
)
from apps.core.web.views import Reader, text


class OfferView(serializers.Serializer[Any]):
    """An add-on that subscriptions on a plan, or on a product's plans, may have."""

    object = ObjectField("add_on_offer")
    id = IdField("aof")
    base = serializers.SerializerMethodField()
    add_on = serializers.CharField(source="product.key")
    least = DecimalField()
    most = DecimalField(allow_null=True)
    created_at = InstantField()

    @extend_schema_field(SideView)
    def get_base(self, offer: AddOnOffer) -> dict[str, str | None]:
        plan, product = offer.base_plan, offer.base_product
        return {"plan": plan.key if plan else None, "product": product.key if product else None}


def _to(key: str) -> QuerySet[AddOnOffer]:
    """Read a plan's key: what is offered to subscriptions on it."""
    plans = Plan.objects.filter(key=text(key))
    return AddOnOffer.objects.filter(
        Q(base_plan__in=plans) | Q(base_product__in=plans.values("product"))
    )


@extend_schema(tags=["catalog"])
class AddOnOffers(CatalogDoor):
    """Which add-ons subscriptions may have."""

    serializer_class = OfferView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "plan": ("pk__in", _to),
        "add_on": ("product__key", text),
    }

    def get_queryset(self) -> QuerySet[AddOnOffer]:
        return offers_for(self.tenant_id)

    @extend_schema(
        request=OfferDocument,
        responses={201: OfferView},
        examples=[
            OpenApiExample(
                "Up to five packs of storage with every plan of the cloud",
                value={"base": {"product": "cloud"}, "add_on": "storage", "most": "5"},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Offer an add-on. What nothing offers cannot be added to a subscription."""
        with documents_read():
            offer = create_offer(
                self.tenant_id,
                id=self.effect_id,
                document=self.document(),
                actor=self.actor,
                at=self.at,
            )
        return Response(
            OfferView(self.get_queryset().get(pk=offer.pk)).data, status.HTTP_201_CREATED
        )

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, pk: str) -> Response:
        """Offer an add-on no more; who has it keeps it."""
        self.read(StrictSerializer)
        delete_offer(self.get_object().pk, actor=self.actor, at=self.at)
        return Response(status=status.HTTP_204_NO_CONTENT)
