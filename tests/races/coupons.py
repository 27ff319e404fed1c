"""Races for coupons that may be redeemed only so often."""

from functools import partial
from typing import Any

from apps.catalog.models import Coupon
from apps.subscriptions.models import CouponRedemption
from tests.make.catalog import make_plan
from tests.make.coupons import make_coupon, redeem
from tests.make.customers import make_customer
from tests.make.races import refusals, winners
from tests.make.subscriptions import make_subscription
from tests.make.tenants import make_tenant
from tests.races.course import Race


def redeem_by_redeem() -> Race:
    """Let twenty customers redeem a coupon that five may have."""
    tenant = make_tenant()
    version = make_plan(tenant)
    coupon = make_coupon(tenant, max_redemptions=5)
    subscribed = [make_subscription(make_customer(tenant), version) for _ in range(20)]

    def judge(results: list[Any]) -> None:
        assert len(winners(results)) == 5
        assert refusals(results) == ["coupon_spent"] * 15
        assert Coupon.objects.get(pk=coupon.pk).redeemed == 5
        assert CouponRedemption.objects.filter(coupon=coupon).count() == 5

    return Race([partial(redeem, one, coupon) for one in subscribed], judge)


def redeem_by_itself() -> Race:
    """Let one customer redeem a coupon for all his subscriptions, and twice for each."""
    customer = make_customer()
    version = make_plan(customer.tenant)
    coupon = make_coupon(customer.tenant)
    subscribed = [make_subscription(customer, version) for _ in range(4)] * 2

    def judge(results: list[Any]) -> None:
        assert len(winners(results)) == 1
        assert refusals(results) == ["coupon_used"] * 7
        assert Coupon.objects.get(pk=coupon.pk).redeemed == 1

    return Race([partial(redeem, one, coupon) for one in subscribed], judge)
