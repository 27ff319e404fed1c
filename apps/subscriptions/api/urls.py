"""Paths."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from apps.subscriptions.api.contracts import Contracts
from apps.subscriptions.api.entitlements import Entitlements
from apps.subscriptions.api.migrating import PlanMigrations
from apps.subscriptions.api.redemptions import CouponRedemptions
from apps.subscriptions.api.views import Subscriptions

router = SimpleRouter(trailing_slash=False)
router.register("subscriptions", Subscriptions, basename="subscription")
router.register("contracts", Contracts, basename="contract")
router.register("coupon-redemptions", CouponRedemptions, basename="coupon-redemption")
router.register("plan-migrations", PlanMigrations, basename="plan-migration")

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("customers/<str:pk>/entitlements", Entitlements.as_view({"get": "retrieve"})),
    path("customers/<str:pk>/entitlements/<str:feature>", Entitlements.as_view({"get": "one"})),
]
