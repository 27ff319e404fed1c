"""Redeemed coupons over HTTP."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Q, QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.models import Coupon
from apps.core.clock import now
from apps.core.ids import decode, is_id
from apps.core.web.fields import (
    IdField,
    InstantField,
    KeyField,
    NameField,
    ObjectField,
    StrictSerializer,
)
from apps.core.web.views import Door, Reader, id_of, named, text
from apps.customers.models import Customer
from apps.customers.queries import customer_now
from apps.subscriptions import operations
from apps.subscriptions.models import CouponRedemption, Subscription


def customers_named(name: str) -> QuerySet[Customer]:
    """Read a customer's id or external id."""
    text(name)
    condition = Q(external_id=name)
    if is_id(Customer.ID_PREFIX, name):
        condition |= Q(pk=decode(Customer.ID_PREFIX, name))
    return Customer.objects.filter(condition)


class RedemptionBody(StrictSerializer):
    """Which coupon is redeemed, and for what: one of ``subscription`` and ``customer``."""

    code = KeyField(help_text="The coupon's key.")
    subscription = NameField(required=False, help_text="Its id or external id.")
    customer = NameField(required=False, help_text="The id or external id, for all that he has.")
    starts_at = InstantField(
        required=False,
        help_text="It discounts from the billing period on in which this lies; now unless given.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Say one thing about what it is for."""
        if ("subscription" in attrs) == ("customer" in attrs):
            raise serializers.ValidationError(
                {
                    "subscription": [
                        serializers.ErrorDetail("Give a subscription or a customer.", "one_of_two")
                    ]
                }
            )
        return attrs


class EndDiscountBody(StrictSerializer):
    """When a discount ends."""

    ends_at = InstantField(
        required=False, help_text="No billing period that begins then or later; now unless given."
    )


class RedemptionView(serializers.Serializer[Any]):
    """A coupon that was redeemed: it discounts the billing periods that begin while it holds."""

    object = ObjectField("coupon_redemption")
    id = IdField("crd")
    coupon = IdField("cpn", source="coupon_id")
    code = serializers.CharField(source="coupon.key")
    customer = IdField("cus", source="customer_id")
    subscription = IdField(
        "sub", source="subscription_id", allow_null=True, help_text="Null: all that he has."
    )
    starts_at = InstantField()
    ends_at = InstantField(allow_null=True, help_text="Exclusive; null: never.")
    created_at = InstantField()


@extend_schema(tags=["subscriptions"])
class CouponRedemptions(Door):
    """Coupons that were redeemed."""

    resource = "subscriptions"
    serializer_class = RedemptionView
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {
        "customer": ("customer__in", customers_named),
        "subscription": ("subscription", id_of(Subscription.ID_PREFIX)),
        "code": ("coupon__key", text),
    }

    def get_queryset(self) -> QuerySet[CouponRedemption]:
        return CouponRedemption.objects.filter(tenant_id=self.tenant_id).select_related(
            "coupon", "customer__test_clock", "customer__tenant__test_clock"
        )

    @extend_schema(
        request=RedemptionBody,
        responses={201: RedemptionView},
        examples=[
            OpenApiExample(
                "For a subscription",
                value={"code": "spring", "subscription": "account-4711"},
                request_only=True,
            ),
            OpenApiExample(
                "For all that a customer has, since April",
                value={
                    "code": "friends",
                    "customer": "cust_acme",
                    "starts_at": "2026-04-01T00:00:00Z",
                },
                request_only=True,
            ),
        ],
    )
    def create(self, request: Request) -> Response:
        """Redeem a coupon: it discounts from the current billing period on.

        What is billed of that already is credited by the next invoice.
        """
        given = self.read(RedemptionBody)
        customer, subscription_id = self._redeemer(given)
        coupons = Coupon.objects.filter(tenant_id=self.tenant_id)
        coupon: Coupon = named(coupons, given["code"], own_name="key")
        made = operations.redeem_coupon(
            customer.pk,
            id=self.effect_id,
            coupon_id=coupon.pk,
            subscription_id=subscription_id,
            starts_at=given.get("starts_at"),
            actor=self.actor,
            at=_time_of(customer),
        )
        return Response(RedemptionView(made).data, status.HTTP_201_CREATED)

    def _redeemer(self, given: Mapping[str, Any]) -> tuple[Customer, UUID | None]:
        clocks = ("test_clock", "tenant__test_clock")
        if "customer" in given:
            customers = Customer.objects.filter(tenant_id=self.tenant_id).select_related(*clocks)
            found: Customer = named(customers, given["customer"], own_name="external_id")
            return found, None
        subscriptions = Subscription.objects.filter(tenant_id=self.tenant_id).select_related(
            *(f"customer__{one}" for one in clocks)
        )
        one: Subscription = named(subscriptions, given["subscription"], own_name="external_id")
        return one.customer, one.pk

    @extend_schema(
        request=EndDiscountBody,
        responses=RedemptionView,
        examples=[
            OpenApiExample(
                "From June on", value={"ends_at": "2026-06-01T00:00:00Z"}, request_only=True
            )
        ],
    )
    @action(detail=True, methods=["post"])
    def end(self, request: Request, pk: str) -> Response:
        """End a discount: billing periods that begin later are not discounted.

        In the past, too: what was discounted since is billed by the next invoice.
        """
        given = self.read(EndDiscountBody)
        found: CouponRedemption = self.get_object()
        ended = operations.end_discount(
            found.pk,
            tenant_id=self.tenant_id,
            ends_at=given.get("ends_at"),
            actor=self.actor,
            at=_time_of(found.customer),
        )
        return Response(RedemptionView(ended).data)


def _time_of(customer: Customer) -> datetime:
    return customer_now(customer, wall=now())
