"""Paths."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from apps.metering.api.meters import Meters, Streams
from apps.metering.api.orphans import Orphans
from apps.metering.api.usage import CustomerUsage, SubscriptionUsage

router = SimpleRouter(trailing_slash=False)
router.register("meters", Meters, basename="meter")
router.register("streams", Streams, basename="stream")
router.register("orphan-events", Orphans, basename="orphan-event")

urlpatterns: list[URLPattern | URLResolver] = [
    *router.urls,
    path("customers/<str:pk>/usage", CustomerUsage.as_view({"get": "retrieve"})),
    path("subscriptions/<str:pk>/usage", SubscriptionUsage.as_view({"get": "retrieve"})),
]
