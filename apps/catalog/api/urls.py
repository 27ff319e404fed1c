"""Paths."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from apps.catalog.api.coupons import Coupons
from apps.catalog.api.offers import AddOnOffers
from apps.catalog.api.transitions import PlanTransitions
from apps.catalog.api.views import Catalog, Features, Plans, PlanVersions, PriceLists, Products

router = SimpleRouter(trailing_slash=False)
router.register("products", Products, basename="product")
router.register("price-lists", PriceLists, basename="price-list")
router.register("features", Features, basename="feature")
router.register("coupons", Coupons, basename="coupon")
router.register("plans", Plans, basename="plan")
router.register("add-on-offers", AddOnOffers, basename="add-on-offer")
router.register("plan-transitions", PlanTransitions, basename="plan-transition")
router.register("plan-versions", PlanVersions, basename="plan-version")

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("catalog", Catalog.as_view({"get": "export", "post": "upload"}), name="catalog"),
]
