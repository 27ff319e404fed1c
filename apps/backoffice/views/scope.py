"""Whose rows the desk shows: one tenant's at a time, which its operator has chosen."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from apps.backoffice.queries.figures import busiest
from apps.core.errors import Invalid
from apps.core.ids import decode, encode
from apps.core.tenancy import enter_tenant
from apps.tenants.desk import rights_of

_CHOSEN: Final = "desk.tenant"


def desk_scope(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Have each request of the desk enter the scope of the tenant that its operator has chosen.

    ``?tenant=`` chooses one for the rest of the session. Until then it is the first that is in use.
    """

    def handle(request: HttpRequest) -> HttpResponse:
        if request.path.startswith(reverse("admin:index")) and request.user.is_authenticated:
            enter_tenant(_chosen(request))
        return get_response(request)

    return handle


def _chosen(request: HttpRequest) -> UUID | None:
    tenants = rights_of(request).tenants
    named = _read(request.GET.get("tenant", ""))
    kept = _read(request.session.get(_CHOSEN, ""))
    if named in tenants:
        chosen = named
    elif kept in tenants:
        chosen = kept
    else:
        # live before test, the companies in order
        chosen = busiest(sorted(tenants, key=lambda one: (tenants[one].mode, tenants[one].slug)))
    if chosen is not None and chosen != kept:
        request.session[_CHOSEN] = encode("ten", chosen)
    return chosen


def _read(text: str) -> UUID | None:
    try:
        return decode("ten", text)
    except Invalid:
        return None
