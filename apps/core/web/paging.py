"""Pages by cursor: newest first, stable while rows are added."""

from collections.abc import Sequence
from typing import Any, Final

from django.core import signing
from django.db.models import Model, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core.errors import FieldError
from apps.core.web.parsing import RequestInvalid
from apps.core.web.principal import Principal

DEFAULT_LIMIT: Final = 20
MAX_LIMIT: Final = 100


class PageInvalid(RequestInvalid):
    reason = "page_invalid"


class CursorPagination(BasePagination):
    """``?limit=&cursor=``; the answer names the next cursor, which belongs to its list."""

    parameters = ("limit", "cursor")

    def paginate_queryset(
        self,
        queryset: QuerySet[Any] | Sequence[Any],
        request: Request,
        view: Any = None,
    ) -> list[Any]:
        """Return the rows of the asked page; raise ``PageInvalid`` for what cannot be one."""
        if not isinstance(queryset, QuerySet) or not isinstance(request.user, Principal):
            raise TypeError("pages are made of a caller's rows in the database")
        limit = read_limit(request.query_params.get("limit"))
        salt = f"{request.user.tenant_id}{request.path}"
        cursor = request.query_params.get("cursor")
        rows = queryset.order_by("-pk")
        if cursor is not None:
            rows = rows.filter(pk__lt=read_cursor(cursor, salt))
        found: Sequence[Model] = list(rows[: limit + 1])
        self.page = list(found[:limit])
        more = len(found) > limit
        self.next_cursor = signing.dumps(str(self.page[-1].pk), salt=salt) if more else None
        return self.page

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            {
                "object": "list",
                "data": data,
                "has_more": self.next_cursor is not None,
                "next_cursor": self.next_cursor,
            }
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["object", "data", "has_more", "next_cursor"],
            "properties": {
                "object": {"type": "string", "enum": ["list"]},
                "data": schema,
                "has_more": {"type": "boolean"},
                "next_cursor": {"type": ["string", "null"]},
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            {
                "name": "limit",
                "in": "query",
                "description": f"Rows on a page, 1 to {MAX_LIMIT}; {DEFAULT_LIMIT} if not given.",
                "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT},
            },
            {
                "name": "cursor",
                "in": "query",
                "description": "The `next_cursor` of the page before.",
                "schema": {"type": "string"},
            },
        ]


def read_limit(text: str | None) -> int:
    """Return the asked number of rows; raise ``PageInvalid`` outside 1 to 100."""
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise PageInvalid(
            errors=[FieldError("limit", "page_size", f"limit is a number from 1 to {MAX_LIMIT}.")]
        )
    return int(text)


def read_cursor(text: str, salt: str) -> str:
    """Return what the cursor points to; raise ``PageInvalid`` if it is not of this list."""
    try:
        return str(signing.loads(text, salt=salt))
    except signing.BadSignature as error:
        raise PageInvalid(
            errors=[FieldError("cursor", "cursor_invalid", "Use the next_cursor of this list.")]
        ) from error
