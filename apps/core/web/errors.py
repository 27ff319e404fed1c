"""Turning errors into HTTP answers: the only place that knows both (RFC 9457)."""

import json
import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from rest_framework import exceptions
from rest_framework.response import Response

from apps.core.errors import (
    BillingError,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    PaymentDeclined,
    ProviderUnavailable,
    Unauthenticated,
)
from apps.core.web.limits import RateLimited
from apps.core.web.parsing import BodyInvalid, BodyTooLarge, RequestInvalid

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/problem+json"
# how much of what a caller sent may come back to him
_LONGEST_FIELD: Final = 200  # characters of a name
_LONGEST_DETAIL: Final = 1000
_MOST_ERRORS: Final = 200

# kind -> HTTP status, code of the public error families, title; the first match counts
_KINDS: Final[tuple[tuple[type[Exception], int, str, str], ...]] = (
    (BodyTooLarge, 413, "VAL_001", "The body is too large"),
    (BodyInvalid, 400, "VAL_001", "The body cannot be read"),
    (RequestInvalid, 400, "VAL_001", "The request cannot be read"),
    (Unauthenticated, 401, "AUTH_001", "Not authenticated"),
    (Forbidden, 403, "AUTH_006", "Not allowed"),
    (RateLimited, 429, "REQ_005", "Too many requests"),
    (NotFound, 404, "REQ_001", "Not found"),
    (Conflict, 409, "REQ_003", "Conflict"),
    (PaymentDeclined, 402, "PAY_001", "Payment declined"),
    (ProviderUnavailable, 503, "INT_002", "Provider unavailable"),
    (Invalid, 422, "VAL_001", "Invalid values"),
)


def problem(
    status: int,
    code: str,
    title: str,
    detail: str,
    *,
    reason: str,
    errors: Iterable[FieldError] = (),
    request_id: str = "",
) -> dict[str, Any]:
    """Return the body of an error answer, cut to what a person may still read."""
    body: dict[str, Any] = {
        "type": f"https://countinghouse.dev/problems/{reason}",
        "title": title,
        "status": status,
        "code": code,
        "reason": reason,
        "detail": detail[:_LONGEST_DETAIL],
        "request_id": request_id,
    }
    listed = [
        {"field": error.field[:_LONGEST_FIELD], "code": error.code, "detail": error.detail}
        for error in islice(errors, _MOST_ERRORS)
    ]
    if listed:
        body["errors"] = listed
    return body


def handle(error: Exception, context: dict[str, Any]) -> Response | None:
    """Answer what a view raised; what is nobody's fault but ours stays an exception."""
    request = context.get("request")
    described = describe(error, getattr(request, "request_id", ""))
    if described is None:
        return None
    body, headers = described
    response = Response(body, status=body["status"], content_type=CONTENT_TYPE, headers=headers)
    response.exception = True
    return response


def describe(error: Exception, request_id: str) -> tuple[dict[str, Any], dict[str, str]] | None:
    """Return the body and headers that answer ``error``, or None if it is a defect."""
    described: _Description | None
    match error:
        case BillingError():
            described = _of_billing(error)
        case exceptions.ValidationError():
            found = tuple(_flatten(error.detail, ""))
            detail = found[0].detail if len(found) == 1 else f"{len(found)} fields are invalid."
            described = _Description(400, "VAL_001", "Invalid values", detail, "invalid", found)
        case OperationalError() | InterfaceError():
            logger.error("the database refused or did not answer", exc_info=error)
            described = _BUSY
        case Http404() | exceptions.APIException():
            described = _of_framework(error)
        case _:
            return None
    body = problem(
        described.status,
        described.code,
        described.title,
        described.detail,
        reason=described.reason,
        errors=described.errors,
        request_id=request_id,
    )
    if isinstance(error, RateLimited):
        return body, {"Retry-After": str(error.retry_after)}
    return body, _HEADERS.get(described.reason) or _HEADERS.get(str(described.status), {})


@dataclass(frozen=True, slots=True)
class _Description:
    status: int
    code: str
    title: str
    detail: str
    reason: str
    errors: tuple[FieldError, ...] = ()


_BUSY: Final = _Description(
    503, "INT_002", "Busy", "The database is busy or away; retry.", "unavailable"
)
# by reason, else by status
_HEADERS: Final[Mapping[str, dict[str, str]]] = {
    "idempotency_in_progress": {"Retry-After": "1"},
    "unavailable": {"Retry-After": "1"},
    "401": {"WWW-Authenticate": "Bearer"},
}


def _of_billing(error: BillingError) -> _Description:
    status, code, title = next(
        (status, code, title) for kind, status, code, title in _KINDS if isinstance(error, kind)
    )
    errors = error.errors if isinstance(error, Invalid) else ()
    if error.field is not None and not errors:
        errors = (FieldError(error.field, error.reason, error.detail),)
    return _Description(status, code, title, error.detail, error.reason, errors)


# what the REST framework and Django raise; the first match counts, "" means its own words
_OF_FRAMEWORK: Final[tuple[tuple[tuple[type[Exception], ...], _Description], ...]] = (
    (
        (exceptions.NotAuthenticated, exceptions.AuthenticationFailed),
        _Description(
            401,
            "AUTH_001",
            "Not authenticated",
            "Send an API key or a token: Authorization: Bearer sk_live_…",
            "api_key_missing",
        ),
    ),
    (
        (exceptions.PermissionDenied,),
        _Description(403, "AUTH_006", "Not allowed", "", "forbidden"),
    ),
    (
        (exceptions.MethodNotAllowed,),
        _Description(405, "REQ_002", "Method not allowed", "", "method_not_allowed"),
    ),
    (
        (exceptions.UnsupportedMediaType,),
        _Description(
            415,
            "VAL_001",
            "Unsupported media type",
            "Send application/json, not compressed.",
            "unsupported_media_type",
        ),
    ),
    (
        (Http404, exceptions.NotFound),
        _Description(404, "REQ_001", "Not found", "There is nothing here.", "not_found"),
    ),
)


def _of_framework(error: Http404 | exceptions.APIException) -> _Description:
    own_words = str(getattr(error, "detail", ""))
    for kinds, described in _OF_FRAMEWORK:
        if isinstance(error, kinds):
            return replace(described, detail=described.detail or own_words)
    status = getattr(error, "status_code", 400)
    reason = getattr(error, "default_code", "refused")
    return _Description(status, "REQ_009", "Refused", own_words, reason)


def _flatten(detail: Any, field: str) -> Iterable[FieldError]:
    match detail:
        case dict():
            for key, member in detail.items():
                if key == "non_field_errors":
                    path = field
                elif isinstance(key, int):
                    path = f"{field}[{key}]"
                else:
                    path = f"{field}.{key}" if field else str(key)
                yield from _flatten(member, path)
        case list():
            for index, member in enumerate(detail):
                if isinstance(member, dict):
                    yield from _flatten(member, f"{field}[{index}]")
                else:
                    yield from _flatten(member, field)
        case _:
            yield FieldError(field, getattr(detail, "code", "invalid"), str(detail))


def answer(error: Exception, request_id: str) -> HttpResponse | None:
    """Answer ``error`` from a view that is not built on the REST framework."""
    described = describe(error, request_id)
    if described is None:
        return None
    body, headers = described
    return HttpResponse(
        json.dumps(body), status=body["status"], content_type=CONTENT_TYPE, headers=headers
    )


def bad_request(
    request: HttpRequest,
    exception: Exception | None = None,  # noqa: ARG001 -- Django gives it by name
) -> HttpResponse:
    """Answer a request that Django itself refuses, such as one for another host."""
    body = problem(
        400,
        "REQ_004",
        "Bad request",
        "The request cannot be understood: look at its host, headers and length.",
        reason="bad_request",
        request_id=getattr(request, "request_id", ""),
    )
    return HttpResponse(json.dumps(body), status=400, content_type=CONTENT_TYPE)


def not_found(
    request: HttpRequest,
    exception: Exception | None = None,  # noqa: ARG001 -- Django gives it by name
) -> HttpResponse:
    """Answer an unknown path: in JSON below ``/api/``, as a page elsewhere."""
    detail = f"There is nothing at {request.path[:200]}."
    if not request.path.startswith("/api/"):
        return HttpResponse(detail, status=404, content_type="text/plain; charset=utf-8")
    body = problem(
        404,
        "REQ_001",
        "Not found",
        detail,
        reason="endpoint_not_found",
        request_id=getattr(request, "request_id", ""),
    )
    return HttpResponse(json.dumps(body), status=404, content_type=CONTENT_TYPE)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a defect of ours: nothing of it is shown, the log has it under the request id."""
    request_id = getattr(request, "request_id", "")
    logger.error("the error of request %s", request_id, exc_info=sys.exc_info()[1])
    body = problem(
        500,
        "INT_001",
        "Internal error",
        "The error was logged; quote the request id.",
        reason="internal",
        request_id=request_id,
    )
    return HttpResponse(json.dumps(body), status=500, content_type=CONTENT_TYPE)
