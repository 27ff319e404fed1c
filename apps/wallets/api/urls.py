"""Paths."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from apps.wallets.api.credit import CreditTransactions, CustomerCredit
from apps.wallets.api.grants import CreditGrants
from apps.wallets.api.holds import Authorizations, CreditHolds
from apps.wallets.api.units import CreditPrices, CreditUnits
from apps.wallets.api.wallets import Wallets

router = SimpleRouter(trailing_slash=False)
router.register("wallets", Wallets, basename="wallet")
router.register("credit-units", CreditUnits, basename="credit-unit")
router.register("credit-prices", CreditPrices, basename="credit-price")
router.register("credit-grants", CreditGrants, basename="credit-grant")
router.register("holds", CreditHolds, basename="hold")
router.register("credit-transactions", CreditTransactions, basename="credit-transaction")

urlpatterns: list[URLPattern | URLResolver] = [
    path("authorize", Authorizations.as_view({"post": "authorize"}), name="authorize"),
    path(
        "customers/<str:pk>/credit-summary",
        CustomerCredit.as_view({"get": "summary"}),
        name="credit-summary",
    ),
    *router.urls,
]
