"""What customers may do, over HTTP."""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.domain import FeatureKind
from apps.core.clock import now
from apps.core.errors import NotFound
from apps.core.web.fields import DecimalField, IdField, InstantField, ObjectField
from apps.core.web.views import Door
from apps.customers.models import Customer
from apps.customers.queries import customer_now, customers_for
from apps.subscriptions.entitlements import entitlements_of


class EntitlementView(serializers.Serializer[Any]):
    """What the customer may do with one feature now.

    `limit`, `used` and `remaining` are decimal strings; a `limit` of null grants without limit.
    `period_start` (inclusive) and `period_end` (exclusive) are those that `used` is counted in.
    """

    object = ObjectField("entitlement")
    feature = serializers.CharField(source="feature.key")
    name = serializers.CharField(source="feature.name")
    kind = serializers.ChoiceField(
        choices=[kind.value for kind in FeatureKind], source="feature.kind"
    )
    unit = serializers.CharField(source="feature.unit")
    granted = serializers.BooleanField()
    limit = DecimalField(allow_null=True)
    used = DecimalField(allow_null=True)
    remaining = DecimalField(allow_null=True)
    period_start = InstantField(source="period.start", allow_null=True, default=None)
    period_end = InstantField(source="period.end", allow_null=True, default=None)


class EntitlementsView(serializers.Serializer[Any]):
    """What the customer may do now, by the keys of the features."""

    object = ObjectField("entitlements")
    customer_id = IdField("cus")
    at = InstantField()
    entitlements = EntitlementView(many=True)


@extend_schema(tags=["subscriptions"])
class Entitlements(Door):
    """What a customer's running subscriptions let him do."""

    resource = "subscriptions"
    own_name = "external_id"
    serializer_class = EntitlementsView
    pagination_class = None

    def get_queryset(self) -> QuerySet[Customer]:
        return customers_for(self.tenant_id).select_related("test_clock", "tenant__test_clock")

    @extend_schema(operation_id="customers_entitlements", responses=EntitlementsView)
    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer all features, granted or not, with their limits and what was used of them."""
        customer: Customer = self.get_object()
        at = customer_now(customer, wall=now())
        found = entitlements_of(customer, at=at)
        return Response(
            EntitlementsView({"customer_id": customer.pk, "at": at, "entitlements": found}).data
        )

    @extend_schema(
        operation_id="customers_entitlement",
        parameters=[OpenApiParameter("feature", str, "path", description="Its key.")],
        responses=EntitlementView,
    )
    def one(self, request: Request, pk: str, feature: str) -> Response:
        """Answer whether the customer has one feature, its limit, and what was used of it."""
        customer: Customer = self.get_object()
        found = entitlements_of(customer, at=customer_now(customer, wall=now()), key=feature)
        if not found:
            raise NotFound(f"There is no feature {feature[:64]!r}.")
        return Response(EntitlementView(found[0]).data)
