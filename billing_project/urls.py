"""Every URL the installation answers."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

urlpatterns: list[URLPattern | URLResolver] = [
    path("api/v1/", include("billing_project.api")),
    path("api/openapi.json", SpectacularAPIView.as_view(), name="openapi"),
    path("api/docs", SpectacularSwaggerView.as_view(url_name="openapi"), name="api-docs"),
    path("admin/", admin.site.urls),
    path("", include("apps.backoffice.urls")),
]

handler400 = "apps.core.web.errors.bad_request"
handler404 = "apps.core.web.errors.not_found"
handler500 = "apps.core.web.errors.server_error"
