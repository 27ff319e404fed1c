"""Paths."""

from rest_framework.routers import SimpleRouter

from apps.ledger.api.views import Accounts, Entries, TrialBalance

router = SimpleRouter(trailing_slash=False)
router.register("ledger/accounts", Accounts, basename="ledger-account")
router.register("ledger/entries", Entries, basename="journal-entry")
router.register("ledger/trial-balance", TrialBalance, basename="trial-balance")

urlpatterns = router.urls
