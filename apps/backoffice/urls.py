"""Pages outside the API and the admin site."""

from django.urls import URLPattern, path

from apps.backoffice.views.health import health, live, ready
from apps.backoffice.views.landing import landing

urlpatterns: list[URLPattern] = [
    path("", landing, name="landing"),
    path("health", health, name="health"),
    path("health/live", live, name="health-live"),
    path("health/ready", ready, name="health-ready"),
]
