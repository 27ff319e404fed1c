"""Paths."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from apps.ledger.api.views import Accounts, Entries, TrialBalance

router = SimpleRouter(trailing_slash=False)
router.register("ledger/accounts", Accounts, basename="ledger-account")
router.register("ledger/entries", Entries, basename="journal-entry")

urlpatterns: list[URLPattern | URLResolver] = [
    path("ledger/trial-balance", TrialBalance.as_view({"get": "show"}), name="trial-balance"),
    *router.urls,
]
