"""Paths."""

from rest_framework.routers import SimpleRouter

from apps.subscriptions.api.views import Subscriptions

router = SimpleRouter(trailing_slash=False)
router.register("subscriptions", Subscriptions, basename="subscription")

urlpatterns = router.urls
