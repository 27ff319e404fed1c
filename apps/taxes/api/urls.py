"""Paths."""

from django.urls import URLPattern, URLResolver
from rest_framework.routers import SimpleRouter

from apps.taxes.api.views import TaxRates

router = SimpleRouter(trailing_slash=False)
router.register("tax-rates", TaxRates, basename="tax-rate")

urlpatterns: list[URLPattern | URLResolver] = router.urls
