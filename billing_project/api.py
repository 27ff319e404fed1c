"""Every endpoint below ``/api/v1``."""

from django.urls import URLPattern, URLResolver, include, path

# An app's ``api.urls`` holds ``urlpatterns``; order does not matter, paths do not overlap.
APPS = (
    "tenants",
    "customers",
    "metering",
    "catalog",
    "subscriptions",
    "wallets",
    "invoicing",
    "payments",
    "ledger",
    "taxes",
    "backoffice",
)

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include(f"apps.{app}.api.urls")) for app in APPS
]
