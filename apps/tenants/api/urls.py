"""Paths."""

from django.urls import URLPattern, URLResolver, path
from rest_framework.routers import SimpleRouter

from apps.tenants.api import views

router = SimpleRouter(trailing_slash=False)
router.register("tenants", views.Tenants, basename="tenant")
router.register("api-keys", views.ApiKeys, basename="api-key")
router.register("members", views.Members, basename="member")
router.register("test-clocks", views.TestClocks, basename="test-clock")
router.register("audit-events", views.AuditEvents, basename="audit-event")
router.register("jobs", views.Jobs, basename="job")

urlpatterns: list[URLPattern | URLResolver] = [
    path("auth/login", views.Login.as_view(), name="login"),
    path(
        "tenant",
        views.OwnTenant.as_view({"get": "retrieve", "patch": "partial_update"}),
        name="own-tenant",
    ),
    *router.urls,
]
