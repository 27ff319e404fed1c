"""Paths."""

from rest_framework.routers import SimpleRouter

from apps.customers.api.views import Customers

router = SimpleRouter(trailing_slash=False)
router.register("customers", Customers, basename="customer")

urlpatterns = router.urls
