"""Paths."""

from django.urls import URLPattern, path

from apps.backoffice.api.views import ClockAdvances

urlpatterns: list[URLPattern] = [
    path(
        "test-clocks/<str:pk>/advance",
        ClockAdvances.as_view({"post": "create", "get": "retrieve"}),
        name="test-clock-advance",
    ),
]
