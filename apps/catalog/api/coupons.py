"""Coupons over HTTP."""

from typing import Any, Final

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_field
from rest_framework import serializers, status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from apps.catalog.domain import CouponDuration, CouponTarget
from apps.catalog.models import Coupon
from apps.catalog.operations import coupons
from apps.core.web.fields import (
    CurrencyField,
    DecimalField,
    FlagField,
    IdField,
    InstantField,
    KeyField,
    LineField,
    ObjectField,
    StrictSerializer,
    WholeField,
)
from apps.core.web.views import Door

_MOST: Final = 2**31 - 1
_MOST_PRIORITY: Final = 1000
_MOST_IN_SCOPE: Final = 100
_PLACES: Final = 6


class PercentageField(DecimalField):
    """A part of a hundred, with at most six decimals."""

    def to_internal_value(self, data: Any) -> Any:
        """Return the number; refuse what is no part of a hundred."""
        number = super().to_internal_value(data)
        if not 0 < number <= 100:  # noqa: PLR2004 -- per cent
            raise serializers.ValidationError(
                "A percentage is more than 0 and at most 100.", code="percentage_range"
            )
        if number != round(number, _PLACES):
            raise serializers.ValidationError(
                f"A percentage has at most {_PLACES} decimals.", code="too_many_decimals"
            )
        return number


class CouponAmount(StrictSerializer):
    """An amount in a currency."""

    currency = CurrencyField()
    amount = DecimalField()


class CouponBody(StrictSerializer):
    """What it takes to make a coupon."""

    key = KeyField(help_text="The code by which it is redeemed.")
    name = LineField(max_length=200)
    percentage = PercentageField(required=False, help_text="Of what other coupons leave.")
    amounts = CouponAmount(
        many=True, required=False, help_text="Instead: off each billing period, by currency."
    )
    duration = serializers.ChoiceField(
        choices=[one.value for one in CouponDuration], default=CouponDuration.ONCE.value
    )
    periods = WholeField(
        required=False, allow_null=True, help_text="How many billing periods; for `periods`."
    )
    target = serializers.ChoiceField(
        choices=[one.value for one in CouponTarget], default=CouponTarget.SUBSCRIPTION.value
    )
    products = serializers.ListField(
        child=KeyField(), required=False, max_length=_MOST_IN_SCOPE, help_text="Keys. All, if none."
    )
    charges = serializers.ListField(
        child=KeyField(), required=False, max_length=_MOST_IN_SCOPE, help_text="Keys. All, if none."
    )
    priority = WholeField(
        required=False,
        min_value=-_MOST_PRIORITY,
        max_value=_MOST_PRIORITY,
        help_text="The lowest comes first; of the same, amounts before percentages.",
    )
    once_per_customer = FlagField(required=False)
    max_redemptions = WholeField(required=False, allow_null=True, max_value=_MOST)
    redeem_until = InstantField(required=False, allow_null=True, help_text="Exclusive.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Return the amounts by currency; each may be given once."""
        listed = attrs.get("amounts", [])
        attrs["amounts"] = {one["currency"]: one["amount"] for one in listed}
        if len(attrs["amounts"]) < len(listed):
            raise serializers.ValidationError(
                {"amounts": [serializers.ErrorDetail("Give each currency once.", "duplicate")]}
            )
        return attrs


class CouponView(serializers.Serializer[Any]):
    """A discount that may be redeemed."""

    object = ObjectField("coupon")
    id = IdField("cpn")
    key = serializers.CharField()
    name = serializers.CharField()
    percentage = DecimalField(allow_null=True)
    amounts = serializers.SerializerMethodField()
    duration = serializers.ChoiceField(choices=[one.value for one in CouponDuration])
    periods = serializers.IntegerField(allow_null=True, help_text="Null: forever.")
    target = serializers.ChoiceField(choices=[one.value for one in CouponTarget])
    products = serializers.ListField(child=serializers.CharField())
    charges = serializers.ListField(child=serializers.CharField())
    priority = serializers.IntegerField()
    once_per_customer = serializers.BooleanField()
    max_redemptions = serializers.IntegerField(allow_null=True)
    redeemed = serializers.IntegerField(help_text="How often, so far.")
    redeem_until = InstantField(allow_null=True, help_text="Exclusive.")
    created_at = InstantField()
    archived_at = InstantField(allow_null=True)

    @staticmethod
    @extend_schema_field(CouponAmount(many=True))
    def get_amounts(coupon: Coupon) -> list[dict[str, str]]:
        """Return the amounts, by currency."""
        return [
            {"currency": currency, "amount": amount}
            for currency, amount in sorted(coupon.amounts.items())
        ]


@extend_schema(tags=["catalog"])
class Coupons(Door):
    """Discounts that may be redeemed."""

    resource = "catalog"
    own_name = "key"
    serializer_class = CouponView

    def get_queryset(self) -> QuerySet[Coupon]:
        return Coupon.objects.filter(tenant_id=self.tenant_id)

    @extend_schema(
        request=CouponBody,
        responses={201: CouponView},
        examples=[
            OpenApiExample(
                "A fifth off three months, for the first hundred",
                value={
                    "key": "spring",
                    "name": "Spring",
                    "percentage": "20",
                    "duration": "periods",
                    "periods": 3,
                    "max_redemptions": 100,
                    "redeem_until": "2030-06-01T00:00:00Z",
                },
                request_only=True,
            ),
            OpenApiExample(
                "Ten off every bill",
                value={
                    "key": "friends",
                    "name": "Friends",
                    "amounts": [{"currency": "USD", "amount": "10.00"}],
                    "duration": "forever",
                },
                request_only=True,
            ),
        ],
    )
    def create(self, request: Request) -> Response:
        """Make a coupon; what it takes off never changes."""
        given = self.read(CouponBody)
        coupon = coupons.create_coupon(
            self.tenant_id,
            id=self.effect_id,
            **{
                **given,
                "duration": CouponDuration(given["duration"]),
                "target": CouponTarget(given["target"]),
            },
            actor=self.actor,
            at=self.at,
        )
        return Response(CouponView(coupon).data, status.HTTP_201_CREATED)

    @extend_schema(request=None, responses=CouponView)
    @action(detail=True, methods=["post"])
    def archive(self, request: Request, pk: str) -> Response:
        """Let nobody redeem a coupon any more; who has redeemed it keeps it."""
        self.read(StrictSerializer)
        coupon = coupons.archive_coupon(
            self.get_object().pk, tenant_id=self.tenant_id, actor=self.actor, at=self.at
        )
        return Response(CouponView(coupon).data)
