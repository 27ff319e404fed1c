"""The page at the root: what this is and where its doors are."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe


@require_safe
def landing(request: HttpRequest) -> HttpResponse:
    """Show it; nothing about the installation's tenants is on it."""
    return render(request, "landing.html")
