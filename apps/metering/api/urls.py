"""Paths."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from apps.metering.api.amendments import Amendments
from apps.metering.api.ingestion import EventBatch, Events, StreamBulk, StreamEvents, Usages
from apps.metering.api.meters import Meters, Streams
from apps.metering.api.orphans import Orphans
from apps.metering.api.usage import CustomerUsage, SubscriptionUsage

router = SimpleRouter(trailing_slash=False)
router.register("meters", Meters, basename="meter")
router.register("streams", Streams, basename="stream")
router.register("event-amendments", Amendments, basename="event-amendment")
router.register("orphan-events", Orphans, basename="orphan-event")

urlpatterns: list[URLPattern | URLResolver] = [
    path("events", Events.as_view()),
    path("events/batch", EventBatch.as_view()),
    path("streams/<str:handle>/events", StreamEvents.as_view()),
    path("streams/<str:handle>/events/bulk", StreamBulk.as_view()),
    path("subscriptions/<str:pk>/usages", Usages.as_view()),
    *router.urls,
    path("customers/<str:pk>/usage", CustomerUsage.as_view({"get": "retrieve"})),
    path("subscriptions/<str:pk>/usage", SubscriptionUsage.as_view({"get": "retrieve"})),
]
