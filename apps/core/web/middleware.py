"""What every request gets before anything else looks at it."""

import re
from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from apps.core.ids import encode, new_id
from apps.core.tenancy import tenant_scope

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
