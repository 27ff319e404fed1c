"""What every request gets before anything else looks at it."""

import re
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse

from apps.core.ids import encode, new_id
from apps.core.tenancy import tenant_scope
from apps.core.web.addresses import client_address
from apps.core.web.errors import not_found

_USABLE: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Give the request an id (the caller's own if it is harmless) and name it in the answer."""

    def handle(request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-Id", "")
        identifier = given if _USABLE.fullmatch(given) else encode("req", new_id())
        request.request_id = identifier  # type: ignore[attr-defined]  # read where answers are made
        response = get_response(request)
        response.headers["X-Request-Id"] = identifier
        return response

    return handle


def nobodys_scope(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Begin every request outside of any tenant; whoever finds out who asks enters his scope."""

    def handle(request: HttpRequest) -> HttpResponse:
        with tenant_scope(None):
            return get_response(request)

    return handle


# what pages may load and run, by the beginning of their path; the first match counts
_POLICIES: Final = (
    # the theme's scripts are evaluated by Alpine, and Swagger's page starts itself inline
    ("/admin/", "script-src 'self' 'unsafe-inline' 'unsafe-eval'"),
    ("/api/docs", "script-src 'self' 'unsafe-inline'"),
    ("/api/", ""),
    ("/", "script-src 'none'"),
)
_PAGE: Final = (
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    " form-action 'self'; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
)
_NO_PAGE: Final = "default-src 'none'; frame-ancestors 'none'"


def browser_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Tell browsers what an answer may load and run, and not to keep what the API answers.

    What the view has said itself stays.
    """

    def handle(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        scripts = next(one for start, one in _POLICIES if request.path.startswith(start))
        response.headers.setdefault(
            "Content-Security-Policy", _PAGE + scripts if scripts else _NO_PAGE
        )
        if request.path.startswith("/api/v1/"):
            response.headers.setdefault("Cache-Control", "no-store")
        return response

    return handle


def desk_addresses(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Answer the desk only to the networks of DESK_NETWORKS, if there are any; 404 to the rest."""

    def handle(request: HttpRequest) -> HttpResponse:
        networks = settings.DESK_NETWORKS
        if networks and request.path.startswith("/admin/"):
            try:
                address = ip_address(client_address(request))
            except ValueError:
                return not_found(request)
            if not any(address in ip_network(one) for one in networks):
                return not_found(request)
        return get_response(request)

    return handle


def prolong_session(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Let a session in use last on; stored at most once a minute."""

    def handle(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if getattr(request.session, "is_stale", False) and request.session.accessed:
            request.session.modified = True
        return response

    return handle
