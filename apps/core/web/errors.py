"""Turning errors into HTTP answers: the only place that knows both (RFC 9457)."""

import json
import logging
from collections.abc import Iterable
from typing import Any, Final

from django.db import OperationalError
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
from apps.core.web.parsing import BodyInvalid, BodyTooLarge, RequestInvalid

logger = logging.getLogger(__name__)

CONTENT_TYPE: Final = "application/problem+json"

# kind -> HTTP status, code of the public error families, title; the first match counts
_KINDS: Final[tuple[tuple[type[Exception], int, str, str], ...]] = (
    (BodyTooLarge, 413, "VAL_001", "The body is too large"),
    (BodyInvalid, 400, "VAL_001", "The body cannot be read"),
    (RequestInvalid, 400, "VAL_001", "The request cannot be read"),
    (Unauthenticated, 401, "AUTH_001", "Not authenticated"),
    (Forbidden, 403, "AUTH_006", "Not allowed"),
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
    """Return the body of an error answer."""
    body: dict[str, Any] = {
        "type": f"https://countinghouse.dev/problems/{reason}",
        "title": title,
        "status": status,
        "code": code,
        "reason": reason,
        "detail": detail,
        "request_id": request_id,
    }
    listed = [
        {"field": error.field, "code": error.code, "detail": error.detail} for error in errors
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
    headers: dict[str, str] = {}
    match error:
        case BillingError():
            status, code, title = next(
                (status, code, title)
                for kind, status, code, title in _KINDS
                if isinstance(error, kind)
            )
            errors = error.errors if isinstance(error, Invalid) else ()
            if error.reason == "idempotency_in_progress":
                headers["Retry-After"] = "1"
            if isinstance(error, Unauthenticated):
                headers["WWW-Authenticate"] = "Bearer"
            body = problem(
                status,
                code,
                title,
                error.detail,
                reason=error.reason,
                errors=errors,
                request_id=request_id,
            )
        case exceptions.ValidationError():
            found = list(_flatten(error.detail, ""))
            detail = found[0].detail if len(found) == 1 else f"{len(found)} fields are invalid."
            body = problem(
                400,
                "VAL_001",
                "Invalid values",
                detail,
                reason="invalid",
                errors=found,
                request_id=request_id,
            )
        case exceptions.NotAuthenticated() | exceptions.AuthenticationFailed():
            headers["WWW-Authenticate"] = "Bearer"
            body = problem(
                401,
                "AUTH_001",
                "Not authenticated",
                "Send an API key or a token: Authorization: Bearer sk_live_…",
                reason="api_key_missing",
                request_id=request_id,
            )
        case exceptions.PermissionDenied():
            body = problem(
                403,
                "AUTH_006",
                "Not allowed",
                str(error.detail),
                reason="forbidden",
                request_id=request_id,
            )
        case exceptions.MethodNotAllowed():
            body = problem(
                405,
                "REQ_002",
                "Method not allowed",
                str(error.detail),
                reason="method_not_allowed",
                request_id=request_id,
            )
        case exceptions.UnsupportedMediaType():
            body = problem(
                415,
                "VAL_001",
                "Unsupported media type",
                "Send application/json.",
                reason="unsupported_media_type",
                request_id=request_id,
            )
        case exceptions.NotAcceptable():
            body = problem(
                406,
                "VAL_001",
                "Not acceptable",
                "The answer is application/json.",
                reason="not_acceptable",
                request_id=request_id,
            )
        case Http404() | exceptions.NotFound():
            body = problem(
                404,
                "REQ_001",
                "Not found",
                "There is nothing here.",
                reason="not_found",
                request_id=request_id,
            )
        case exceptions.APIException():
            body = problem(
                error.status_code,
                "REQ_009",
                "Refused",
                str(error.detail),
                reason=error.default_code,
                request_id=request_id,
            )
        case OperationalError():
            logger.exception("the database refused or did not answer")
            headers["Retry-After"] = "1"
            body = problem(
                503,
                "INT_002",
                "Busy",
                "The database is busy or away; retry.",
                reason="unavailable",
                request_id=request_id,
            )
        case _:
            return None
    return body, headers


def _flatten(detail: Any, field: str) -> Iterable[FieldError]:
    match detail:
        case dict():
            for key, member in detail.items():
                if key == "non_field_errors":
                    yield from _flatten(member, field)
                else:
                    yield from _flatten(member, f"{field}.{key}" if field else str(key))
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


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
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
    body = problem(
        500,
        "INT_001",
        "Internal error",
        "The error was logged; quote the request id.",
        reason="internal",
        request_id=getattr(request, "request_id", ""),
    )
    return HttpResponse(json.dumps(body), status=500, content_type=CONTENT_TYPE)
