"""The door that events come in by: who sends, and what the body says."""

import hashlib
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.exceptions import MethodNotAllowed, NotAuthenticated, UnsupportedMediaType
from rest_framework.views import APIView

from apps.core.clock import now
from apps.core.errors import FieldError
from apps.core.ids import decode
from apps.core.tenancy import enter_tenant
from apps.core.web.errors import answer
from apps.core.web.limits import limit_caller
from apps.core.web.parsing import BodyTooLarge, refuse
from apps.core.web.principal import Principal
from apps.core.web.views import ParameterInvalid, ScopeMissing
from apps.metering.api.bodies import read_body
from apps.metering.api.ingestion.gathering import Gathering
from apps.metering.domain import Receipt, Sender, SenderChanged
from apps.metering.queries import sender_of
from apps.tenants.queries import tenant_of

MOST_EVENTS: Final = 1_000
SINGLE_BYTES: Final = 1_048_576
BATCH_BYTES: Final = 5 * 1_048_576
_REMEMBERED_SECONDS: Final = 60.0
_MOST_REMEMBERED: Final = 10_000
_KEY_ACTOR: Final = "api_key:"


class BatchTooLarge(BodyTooLarge):
    reason = "batch_too_large"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends, for how long that may be taken from memory, and the time on his clock."""

    name: str
    sender: Sender
    until: float
    clock: datetime | None = None
    gathering: Gathering = field(default_factory=Gathering)

    @property
    def at(self) -> datetime:
        """The time that it is for him."""
        return now() if self.clock is None else self.clock

    def ingest(self, item: object) -> Receipt:
        """Store a single item, with others of his that are sent at the same time."""
        return self.gathering.ingest(self.sender, item, at=self.at)


# what a good API key stands for; every statement that stores events checks that it still does
_remembered: dict[bytes, Caller] = {}


class EventDoor(APIView, ABC):
    """A POST of events: authenticated, read strictly, stored, and only then answered."""

    most_bytes: ClassVar[int] = SINGLE_BYTES

    # without what the REST framework does for every request
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Answer the request, or what was wrong with it."""
        try:
            response = self._answer(request, **kwargs)
        except Exception as error:
            described = answer(error, getattr(request, "request_id", ""))
            if described is None:
                raise
            response = described
            if isinstance(error, MethodNotAllowed):
                response["Allow"] = "POST"
        response["Cache-Control"] = "no-store"
        return response

    @abstractmethod
    def take(self, value: Any, caller: Caller, request: HttpRequest, **kwargs: str) -> HttpResponse:
        """Store what the body holds and answer."""

    def _answer(self, request: HttpRequest, **kwargs: str) -> HttpResponse:
        if request.method != "POST":
            raise MethodNotAllowed(request.method or "")
        if request.META.get("QUERY_STRING"):
            _refuse_parameters(request)
        remembered, caller = self._caller(request)
        limit_caller(caller.name)
        value = self._read(request)
        try:
            return self.take(value, caller, request, **kwargs)
        except SenderChanged:
            if remembered is None:
                raise
            _remembered.pop(remembered, None)
            _, caller = self._caller(request)
            return self.take(value, caller, request, **kwargs)

    def _read(self, request: HttpRequest) -> Any:
        length = request.META.get("CONTENT_LENGTH") or "0"
        if not length.isdigit() or int(length) > self.most_bytes:
            raise BodyTooLarge(f"The body may have at most {self.most_bytes} bytes.")
        kind = request.META.get("CONTENT_TYPE", "")
        if int(length) and kind.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType(kind)
        if request.META.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
            raise UnsupportedMediaType("compressed")
        return read_body(request.body)

    def _caller(self, request: HttpRequest) -> tuple[bytes | None, Caller]:
        """Return the caller, and under what he is remembered, if he is."""
        credential = request.META.get("HTTP_AUTHORIZATION"), request.META.get("HTTP_X_API_KEY")
        digest = hashlib.sha256(repr(credential).encode()).digest()
        known = _remembered.get(digest)
        if known is not None and known.until > time.monotonic():
            enter_tenant(known.sender.tenant_id)
            return digest, known
        authenticator: Any = self.get_authenticators()[0]  # ours takes Django's requests as well
        principal, _ = authenticator.authenticate(request) or (None, None)
        if not isinstance(principal, Principal):
            raise NotAuthenticated
        if not principal.may("events", "write"):
            raise ScopeMissing("This needs the scope events:write.")
        tenant = tenant_of(principal.tenant_id)
        if not principal.actor.startswith(_KEY_ACTOR) or tenant.test_clock_id is not None:
            return None, Caller(principal.actor, sender_of(tenant), 0, principal.at)
        key_id = decode("key", principal.actor.removeprefix(_KEY_ACTOR))
        until = time.monotonic() + _REMEMBERED_SECONDS
        caller = Caller(principal.actor, sender_of(tenant, key_id=key_id), until)
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[digest] = caller
        return digest, caller


def body_object(value: Any) -> dict[str, Any]:
    """Return a body that is an object; raise ``BodyInvalid``."""
    if not isinstance(value, dict):
        refuse("json_type", "Expected a JSON object.")
    return value


def body_batch(value: Any, field: str) -> Sequence[Any]:
    """Return 1 to ``MOST_EVENTS`` items; raise ``BodyInvalid`` or ``BatchTooLarge``."""
    if not isinstance(value, list):
        refuse("json_type", "Expected a JSON array of events.", field)
    if not value:
        refuse("batch_empty", "Send at least one event.", field)
    if len(value) > MOST_EVENTS:
        raise BatchTooLarge(f"A batch has at most {MOST_EVENTS} events; this one {len(value)}.")
    return value


def _refuse_parameters(request: HttpRequest) -> None:
    raise ParameterInvalid(
        errors=[
            FieldError(name[:64], "unknown_parameter", "This takes no parameters.")
            for name in request.GET
        ]
    )
