"""Coupons for tests, made and redeemed by the operations."""

from datetime import datetime
from decimal import Decimal
from itertools import count
from typing import Any

from apps.catalog.models import Coupon
from apps.catalog.operations.coupons import create_coupon
from apps.core.ids import new_id
from apps.customers.models import Customer
from apps.subscriptions.models import CouponRedemption, Subscription
from apps.subscriptions.operations import redeem_coupon
from apps.tenants.models import Tenant
from tests.make.scope import in_its_scope
from tests.make.tenants import ACTOR, AT

_numbers = count(1)


@in_its_scope
def make_coupon(tenant: Tenant, at: datetime = AT, **values: Any) -> Coupon:
    """Return a new coupon: ten per cent, once, unless told otherwise; ``amount`` is in USD."""
    if "amount" in values:
        values["amounts"] = {"USD": Decimal(values.pop("amount"))}
    elif "amounts" not in values:
        values["percentage"] = Decimal(values.get("percentage", 10))
    return create_coupon(
        tenant.id,
        id=new_id(),
        key=values.pop("key", None) or f"coupon-{next(_numbers)}",
        name="A coupon",
        actor=ACTOR,
        at=at,
        **values,
    )


@in_its_scope
def redeem(
    owner: Subscription | Customer, coupon: Coupon, at: datetime = AT, **values: Any
) -> CouponRedemption:
    """Redeem a coupon for a subscription, or for all that a customer has."""
    one = owner.pk if isinstance(owner, Subscription) else None
    customer_id = owner.customer_id if isinstance(owner, Subscription) else owner.pk
    return redeem_coupon(
        customer_id,
        id=values.pop("id", None) or new_id(),
        coupon_id=coupon.pk,
        subscription_id=one,
        actor=ACTOR,
        at=at,
        **values,
    )
