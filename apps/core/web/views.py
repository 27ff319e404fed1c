"""The door of the REST API: what every endpoint does before and after its one operation."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, Final, cast
from uuid import UUID

from django.db import DatabaseError
from django.db.models import Model, QuerySet
from django.http import HttpResponse
from rest_framework import viewsets
from rest_framework.exceptions import NotAuthenticated, UnsupportedMediaType, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from apps.core import idempotency
from apps.core.clock import now
from apps.core.errors import FieldError, Forbidden, Invalid, NotFound
from apps.core.failpoints import failpoint
from apps.core.ids import decode, is_id, new_id
from apps.core.tenancy import tenant_scope
from apps.core.web.errors import CONTENT_TYPE as PROBLEM_TYPE
from apps.core.web.fields import InstantField, StrictSerializer, unknown_field
from apps.core.web.limits import limit_caller
from apps.core.web.parsing import BodyTooLarge, RequestInvalid, refuse
from apps.core.web.principal import Principal

MAX_BODY: Final = 1_048_576
_SAFE: Final = ("GET", "HEAD", "OPTIONS")


class ParameterInvalid(RequestInvalid):
    reason = "parameter_invalid"


class IdempotencyKeyInvalid(RequestInvalid):
    reason = "idempotency_key_invalid"


class ScopeMissing(Forbidden):
    reason = "scope_missing"


class ModeMismatch(NotFound):
    reason = "mode_mismatch"


class _Replay(Exception):
    def __init__(self, answer: idempotency.Answer) -> None:
        self.answer = answer


# A query parameter's reader: text in, the value to filter by out; raises Invalid.
Reader = Callable[[str], Any]


def id_of(prefix: str) -> Reader:
    """Return a reader of ids with ``prefix``."""
    return lambda text: decode(prefix, text)


def one_of(*allowed: str) -> Reader:
    """Return a reader of one of the words."""

    def read(text: str) -> str:
        if text not in allowed:
            raise Invalid(f"{text[:64]!r} is not one of: {', '.join(allowed)}.")
        return text

    return read


def text(value: str) -> str:
    """Read any text of up to 255 characters."""
    if len(value) > 255:  # noqa: PLR2004
        raise Invalid("Give at most 255 characters.")
    return value


def instant(value: str) -> datetime:
    """Read an instant: RFC 3339 with its zone."""
    try:
        return InstantField().to_internal_value(value)
    except ValidationError as error:
        raise Invalid("Send an instant as RFC 3339 with a zone: 2026-05-01T00:00:00Z.") from error


def check_body(request: Request, max_body: int = MAX_BODY) -> None:
    """Raise for a body that is too large or compressed, before any of it is read."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    if length.isdigit() and int(length) > max_body:
        raise BodyTooLarge(f"The body may have at most {max_body} bytes.")
    if request.META.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
        raise UnsupportedMediaType("compressed")


def read_body(
    request: Request, serializer: type[StrictSerializer], **context: Any
) -> dict[str, Any]:
    """Return the validated body; raise with every error at once."""
    empty = not request._request.body.strip()  # before the parser reads it away
    reader = serializer(data=request.data, context=context)
    if empty and any(one.required for one in reader.fields.values()):
        refuse("body_empty", "The request body is empty; send a JSON object.")
    reader.is_valid(raise_exception=True)
    return cast("dict[str, Any]", reader.validated_data)


class Door(viewsets.GenericViewSet[Any]):
    """A resource of the API.

    A subclass names its ``resource`` (the scope that callers need), gives ``get_queryset`` of
    the caller's tenant, and calls one operation per action. ``self.principal``, ``self.at`` and
    ``self.effect_id`` (the id of what a POST creates) are what operations are given.
    """

    resource: ClassVar[str]
    # which column holds the caller's own name for a row, accepted wherever the id is
    own_name: ClassVar[str | None] = None
    # query parameter -> (lookup, reader)
    filters: ClassVar[Mapping[str, tuple[str, Reader]]] = {}
    # query parameters that single actions read themselves
    parameters: ClassVar[frozenset[str]] = frozenset()
    # actions that move money: they refuse to run without an Idempotency-Key
    money_actions: ClassVar[frozenset[str]] = frozenset()
    max_body: ClassVar[int] = MAX_BODY

    lookup_value_regex = r"[^/]+"
    lookup_field = "pk"
    claim: idempotency.Claim | None = None

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return cast("Principal", self.request.user)  # our authentication makes these

    @property
    def tenant_id(self) -> UUID:
        """The tenant that the caller acts for."""
        return self.principal.tenant_id

    @property
    def actor(self) -> str:
        """The caller, as the audit trail names him."""
        return self.principal.actor

    @property
    def at(self) -> datetime:
        """The instant of the request, on the tenant's clock."""
        return self.principal.at

    @cached_property
    def effect_id(self) -> UUID:
        """The id of what this request creates; a repeat with the same key gets the same."""
        return self.claim.effect_id if self.claim else new_id()

    def want(self, resource: str, access: str) -> None:
        """Refuse a caller without the scope, here for what an action does beside its resource."""
        if not self.principal.may(resource, access):
            raise ScopeMissing(f"This needs the scope {resource}:{access}.")

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate, authorise, read strictly, and claim the idempotency key."""
        super().initial(request, *args, **kwargs)
        if not isinstance(request.user, Principal):
            raise NotAuthenticated
        limit_caller(request.user.actor)
        access = "read" if request.method in _SAFE else "write"
        self.want(self.resource, access)
        if request.method == "OPTIONS":
            return
        self._check_query(request)
        check_body(request, self.max_body)
        self._claim_key(request)

    def _check_query(self, request: Request) -> None:
        known = [*self.filters, *self.parameters]
        if self.action == "list":
            known += ["limit", "cursor"]
        errors = []
        for name, values in request.query_params.lists():
            if name not in known:
                detail = unknown_field(name, known).replace("field", "parameter")
                errors.append(FieldError(name, "unknown_parameter", detail))
            elif len(values) > 1:
                errors.append(FieldError(name, "parameter_repeated", "Give it once."))
            elif "\x00" in values[0]:
                errors.append(FieldError(name, "nul_character", "NUL is not allowed."))
        if errors:
            raise ParameterInvalid(errors=errors)

    def _claim_key(self, request: Request) -> None:
        if request.method in _SAFE:
            return
        key = request.headers.get("Idempotency-Key")
        if key is None:
            if self.action in self.money_actions:
                raise IdempotencyKeyInvalid(
                    errors=[
                        FieldError(
                            "Idempotency-Key",
                            "idempotency_key_required",
                            "This moves money: send an Idempotency-Key header, new for each"
                            " intended effect and the same on retries.",
                        )
                    ]
                )
            return
        if not (1 <= len(key) <= 255 and key.isascii() and key.isprintable()):  # noqa: PLR2004
            raise IdempotencyKeyInvalid(
                errors=[
                    FieldError(
                        "Idempotency-Key",
                        "idempotency_key_invalid",
                        "An Idempotency-Key has 1 to 255 printable ASCII characters.",
                    )
                ]
            )
        text = f"{request.method} {request.get_full_path()}\n".encode() + request._request.body
        claimed = idempotency.claim(
            self.tenant_id,
            self.principal.actor,
            key,
            hashlib.sha256(text).digest(),
            at=now(),
        )
        if isinstance(claimed, idempotency.Answer):
            raise _Replay(claimed)
        self.claim = claimed
        failpoint("core.idempotency.after_claim")

    def handle_exception(self, exc: Exception) -> Response:
        """Answer a replay with what was answered before; the rest as everywhere."""
        if isinstance(exc, _Replay):
            refused = exc.answer.status >= 400  # noqa: PLR2004
            return HttpResponse(  # type: ignore[return-value]  # finalize_response takes either
                exc.answer.body,
                status=exc.answer.status,
                content_type=PROBLEM_TYPE if refused else "application/json",
                headers={"Idempotent-Replayed": "true"},
            )
        try:
            return super().handle_exception(exc)
        except Exception:
            self._lapse()
            raise

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Remember the answer to a keyed request, unless it was refused before any effect."""
        final = super().finalize_response(request, response, *args, **kwargs)
        final.headers.setdefault("Cache-Control", "no-store")
        if self.claim and isinstance(final, Response):
            if final.status_code in (400, 401, 403, 404, 413, 415, 422):
                idempotency.release(self.claim)
            elif final.status_code >= 500:  # noqa: PLR2004
                self._lapse()
            else:
                body = self.remembered(final)
                failpoint("core.idempotency.before_answer")
                idempotency.answer(self.claim, final.status_code, body)
                failpoint("core.idempotency.after_answer")
        return final

    def remembered(self, response: Response) -> bytes:
        """Return what a repeat with the same key is answered; secrets are left out of it."""
        return cast("bytes", response.rendered_content)

    def _lapse(self) -> None:
        if self.claim:
            with suppress(DatabaseError):  # the database is away: the lease ends by itself
                idempotency.lapse(self.claim, at=now())

    def read(self, serializer: type[StrictSerializer], **context: Any) -> dict[str, Any]:
        """Return the validated body; raise with every error at once."""
        return read_body(self.request, serializer, view=self, **context)

    def filter_queryset(self, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Apply the filters in the query; raise ``ParameterInvalid`` for values that are none."""
        errors = []
        asked: dict[str, Any] = {}
        for name, (lookup, reader) in self.filters.items():
            text = self.request.query_params.get(name)
            if text is None:
                continue
            try:
                asked[name] = reader(text)
                queryset = queryset.filter(**{lookup: asked[name]})
            except Invalid as error:
                errors.append(FieldError(name, error.reason, error.detail))
        errors += _backwards(asked)
        if errors:
            raise ParameterInvalid(errors=errors)
        return queryset

    def get_object(self) -> Any:
        """Return the row that the path names by id or by the caller's own name."""
        name = self.kwargs["pk"]
        try:
            return named(self.get_queryset(), name, own_name=self.own_name)
        except NotFound:
            self._hint_at_mode(name)
            raise

    def _hint_at_mode(self, name: str) -> None:
        """Raise ``ModeMismatch`` if the id is one of the tenant's other mode."""
        model = self.get_queryset().model
        twin = self.principal.twin_id
        owned = any(one.attname == "tenant_id" for one in model._meta.concrete_fields)
        if twin is None or not owned or not is_id(model.ID_PREFIX, name):
            return
        pk = decode(model.ID_PREFIX, name)
        with tenant_scope(twin):
            is_there = model._default_manager.filter(pk=pk, tenant_id=twin).exists()
        if is_there:
            raise ModeMismatch(
                f"{name} belongs to your other mode: use a live key for live objects and a test"
                " key for test objects."
            )

    def list(self, request: Request) -> Response:
        """Answer a page of rows, newest first."""
        page = self.paginate_queryset(self.filter_queryset(self.get_queryset()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    def retrieve(self, request: Request, pk: str) -> Response:
        """Answer one row."""
        return Response(self.get_serializer(self.get_object()).data)


def _backwards(asked: Mapping[str, Any]) -> Iterator[FieldError]:
    """Yield what is wrong with ranges that end before they begin: ``…_from`` and ``…_before``."""
    for name, end in asked.items():
        start = asked.get(f"{name.removesuffix('_before')}_from")
        if name.endswith("_before") and start is not None and end < start:
            yield FieldError(name, "range_backwards", "The end is before the start.")


def named(rows: QuerySet[Any], name: str, *, own_name: str | None) -> Any:
    """Return the row called ``name`` (its id, or the caller's own name); ``NotFound`` if none."""
    model: type[Model] = rows.model
    prefix: str = getattr(model, "ID_PREFIX")  # noqa: B009 -- Model has none in general
    row = None
    if is_id(prefix, name):
        row = rows.filter(pk=decode(prefix, name)).first()
    if row is None and own_name and "\x00" not in name:
        row = rows.filter(**{own_name: name}).first()
    if row is None:
        raise NotFound(f"There is no {model._meta.verbose_name} {name[:64]!r}.")
    return row
