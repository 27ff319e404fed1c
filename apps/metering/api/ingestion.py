"""Taking events over HTTP: plain views, because a serializer would cost more than the storing."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework.exceptions import MethodNotAllowed, NotAuthenticated, UnsupportedMediaType
from rest_framework.views import APIView

from apps.core.clock import now
from apps.core.errors import Conflict, FieldError, Invalid, NotFound
from apps.core.ids import decode, encode
from apps.core.tenancy import enter_tenant
from apps.core.web.errors import answer
from apps.core.web.fields import unknown_field
from apps.core.web.limits import limit_caller
from apps.core.web.parsing import BodyTooLarge, RequestInvalid, refuse
from apps.core.web.principal import Principal
from apps.core.web.views import IdempotencyKeyInvalid, ParameterInvalid, ScopeMissing
from apps.metering.api.bodies import fingerprint, read_body
from apps.metering.api.gathering import Gathering
from apps.metering.api.schemas import EVENT, EVENTS, RECEIPT, RECEIPTS, USAGE, USAGE_RECEIPT
from apps.metering.api.usage import subject_named
from apps.metering.domain import Receipt, ReceiptStatus, Sender, SenderChanged
from apps.metering.models import EventStream, UsageSubject
from apps.metering.operations import ingest_batch
from apps.metering.paths import find, parse_path
from apps.metering.queries import meter_named, sender_of
from apps.tenants.queries import tenant_of

MOST_EVENTS: Final = 1_000
_SINGLE_BYTES: Final = 1_048_576
_BATCH_BYTES: Final = 5 * 1_048_576
_REMEMBERED_SECONDS: Final = 60.0
_MOST_REMEMBERED: Final = 10_000
_KEY_ACTOR: Final = "api_key:"

# codes of items whose form is right, for the status of an answer about one alone
_IMPOSSIBLE: Final = frozenset(
    {"timestamp_future", "timestamp_too_old", "value_negative", "property_missing"}
)
_UNTIMELY: Final = frozenset({"meter_archived"})
_ENCODER: Final = msgspec.json.Encoder()


class EventInvalid(RequestInvalid):
    """The one event of the request is none, by its form."""

    reason = "event_invalid"


class EventImpossible(Invalid):
    """The one event of the request cannot have happened, or cannot be measured."""

    reason = "event_impossible"


class EventUntimely(Conflict):
    """The one event of the request is refused by what there is now."""

    reason = "meter_archived"


class EventConflict(Conflict):
    """Another payload was stored under the event's key."""

    reason = "event_conflict"


class BatchTooLarge(BodyTooLarge):
    reason = "batch_too_large"


@dataclass(frozen=True, slots=True)
class _Caller:
    """Who sends, for how long that may be taken from memory, and the time on his clock."""

    name: str
    sender: Sender
    until: float
    clock: datetime | None = None
    gathering: Gathering = field(default_factory=Gathering)

    @property
    def at(self) -> datetime:
        return now() if self.clock is None else self.clock

    def ingest(self, item: object) -> Receipt:
        return self.gathering.ingest(self.sender, item, at=self.at)


# what a good API key stands for; every statement that stores events checks that it still does
_remembered: dict[bytes, _Caller] = {}


class EventDoor(APIView):
    """A POST of events: authenticated, read strictly, stored, and only then answered."""

    most_bytes: ClassVar[int] = _SINGLE_BYTES

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

    def take(
        self, value: Any, caller: _Caller, request: HttpRequest, **kwargs: str
    ) -> HttpResponse:
        """Store what the body holds and answer."""
        raise NotImplementedError

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

    def _caller(self, request: HttpRequest) -> tuple[bytes | None, _Caller]:
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
            return None, _Caller(principal.actor, sender_of(tenant), 0, principal.at)
        key_id = decode("key", principal.actor.removeprefix(_KEY_ACTOR))
        until = time.monotonic() + _REMEMBERED_SECONDS
        caller = _Caller(principal.actor, sender_of(tenant, key_id=key_id), until)
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[digest] = caller
        return digest, caller


class Events(EventDoor):
    """One event."""

    @extend_schema(
        operation_id="events_create",
        request={"application/json": EVENT},
        responses={
            202: OpenApiResponse(RECEIPT, "Stored"),
            200: OpenApiResponse(RECEIPT, "Stored before"),
        },
        examples=[
            OpenApiExample(
                "A call",
                request_only=True,
                value={
                    "idempotency_key": "req_7f8a9b2c3d4e5f6a",
                    "meter": "api_calls",
                    "customer": "crm-4711",
                    "timestamp": "2026-04-03T09:30:00Z",
                    "value": "1",
                    "properties": {"region": "eu"},
                },
            )
        ],
    )
    def post(self, request: HttpRequest) -> None:
        """Report one event. 202: it is committed; 200: it was before; 409: another one was."""

    def take(
        self, value: Any, caller: _Caller, request: HttpRequest, **kwargs: str
    ) -> HttpResponse:
        return _one(caller.ingest(_object(value)))


class EventBatch(EventDoor):
    """Up to 1,000 events."""

    most_bytes = _BATCH_BYTES

    @extend_schema(
        operation_id="events_batch_create",
        request={"application/json": EVENTS},
        responses={202: OpenApiResponse(RECEIPTS, "All that is accepted is committed")},
        examples=[
            OpenApiExample(
                "Two events",
                request_only=True,
                value={
                    "events": [
                        {
                            "idempotency_key": "a-1",
                            "event_name": "storage.changed",
                            "subscription": "acct_123456",
                            "timestamp": "2026-04-03T09:30:00Z",
                            "properties": {"gigabytes": "1.5", "region": "eu-west"},
                        },
                        {
                            "idempotency_key": "a-2",
                            "meter": "api_calls",
                            "customer": "crm-4711",
                            "timestamp": "2026-04-03T09:31:00Z",
                            "value": 3,
                        },
                    ]
                },
            )
        ],
    )
    def post(self, request: HttpRequest) -> None:
        """Report up to 1,000 events; each gets its receipt, and a bad one loses no other."""

    def take(
        self, value: Any, caller: _Caller, request: HttpRequest, **kwargs: str
    ) -> HttpResponse:
        body = _object(value)
        for name in body:
            if name != "events":
                refuse("unknown_field", unknown_field(name, ["events"]), name[:64])
        return _many(
            ingest_batch(caller.sender, _batch(body.get("events"), "events"), at=caller.at)
        )


class _StreamDoor(EventDoor):
    def stream(self, caller: _Caller, handle: str) -> EventStream:
        """Return the stream with this handle or id that takes events; raise ``NotFound``."""
        streams = EventStream.objects.filter(tenant_id=caller.sender.tenant_id, archived_at=None)
        found = streams.filter(handle=handle).first() if "\x00" not in handle else None
        if found is None:
            raise NotFound(f"There is no stream {handle[:64]!r} that takes events.")
        return found


class StreamEvents(_StreamDoor):
    """One event of a stream, in the caller's own words."""

    @extend_schema(
        operation_id="streams_events_create",
        request={"application/json": {"type": "object"}},
        responses={
            202: OpenApiResponse(RECEIPT, "Stored"),
            200: OpenApiResponse(RECEIPT, "Stored before"),
        },
        examples=[
            OpenApiExample(
                "Your own JSON",
                request_only=True,
                value={"account_id": "acct_123456", "clicks": 100, "other": "other-thing"},
            )
        ],
    )
    def post(self, request: HttpRequest, handle: str) -> None:
        """Report one event in your own JSON; the stream says where things lie in it."""

    def take(
        self, value: Any, caller: _Caller, request: HttpRequest, **kwargs: str
    ) -> HttpResponse:
        stream = self.stream(caller, kwargs["handle"])
        item = _in_our_words(stream, _object(value))
        receipt = caller.ingest(item)
        return _one(_in_their_words(stream, receipt))


class StreamBulk(_StreamDoor):
    """Up to 1,000 events of a stream."""

    most_bytes = _BATCH_BYTES

    @extend_schema(
        operation_id="streams_events_bulk_create",
        request={"application/json": {"type": "array", "items": {"type": "object"}}},
        responses={202: OpenApiResponse(RECEIPTS, "All that is accepted is committed")},
        examples=[
            OpenApiExample(
                "Your own JSON",
                request_only=True,
                value=[{"account_id": "acct_123456", "clicks": 100}],
            )
        ],
    )
    def post(self, request: HttpRequest, handle: str) -> None:
        """Report up to 1,000 events in your own JSON; each gets its receipt."""

    def take(
        self, value: Any, caller: _Caller, request: HttpRequest, **kwargs: str
    ) -> HttpResponse:
        stream = self.stream(caller, kwargs["handle"])
        items = [_in_our_words(stream, item) for item in _batch(value, "")]
        receipts = ingest_batch(caller.sender, items, at=caller.at)
        return _many([_in_their_words(stream, receipt) for receipt in receipts])


class Usages(EventDoor):
    """A quantity used under a subscription."""

    @extend_schema(
        operation_id="subscriptions_usages_create",
        request={"application/json": USAGE},
        responses={
            202: OpenApiResponse(USAGE_RECEIPT, "Stored"),
            200: OpenApiResponse(USAGE_RECEIPT, "Stored before"),
        },
        examples=[
            OpenApiExample(
                "A thousand units at a price point",
                request_only=True,
                value={
                    "meter": "api_calls",
                    "quantity": 1000,
                    "price_point": "wholesale",
                    "memo": "My memo",
                },
            )
        ],
    )
    def post(self, request: HttpRequest, pk: str) -> None:
        """Report a quantity; the Idempotency-Key header is the event's key unless one is given."""

    def take(
        self, value: Any, caller: _Caller, request: HttpRequest, **kwargs: str
    ) -> HttpResponse:
        body = _object(value)
        for name in body:
            if name not in USAGE["properties"]:
                refuse("unknown_field", unknown_field(name, USAGE["properties"]), name[:64])
        key = body.get("idempotency_key", request.headers.get("Idempotency-Key"))
        if key is None:
            raise IdempotencyKeyInvalid(
                errors=[
                    FieldError(
                        "Idempotency-Key",
                        "idempotency_key_required",
                        "Send an Idempotency-Key header, new for each usage and the same on"
                        " retries.",
                    )
                ]
            )
        for name in ("meter", "quantity"):
            if body.get(name) is None:
                refuse("required", f"Send the {name}.", name)
        tenant_id = caller.sender.tenant_id
        subject = subject_named(UsageSubject.objects.filter(tenant_id=tenant_id), kwargs["pk"])
        meter = meter_named(tenant_id, str(body["meter"]))
        extra = {name: body[name] for name in ("price_point", "memo") if body.get(name) is not None}
        item = {
            "idempotency_key": key,
            "meter": meter.key,
            "subscription": encode("sub", subject.pk),
            "value": body["quantity"],
            "timestamp": body.get("timestamp"),
            "properties": extra,
        }
        receipt = caller.ingest(item)
        names = {"value": "quantity", "properties.price_point": "price_point"}
        return _one(
            _renamed(receipt, names),
            object="usage",
            subscription=item["subscription"],
            meter=meter.key,
            quantity=body["quantity"],
            price_point=body.get("price_point"),
            memo=body.get("memo"),
        )


# --- bodies -------------------------------------------------------------------------------------


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        refuse("json_type", "Expected a JSON object.")
    return value


def _batch(value: Any, field: str) -> Sequence[Any]:
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


def _in_our_words(stream: EventStream, item: Any) -> Any:
    """Return an event of a stream as one of ours; what is no object stays, to be refused."""
    if not isinstance(item, dict):
        return item
    found = {
        "subject": _as_name(_at(item, stream.subject_path)),
        "timestamp": _at(item, stream.timestamp_path),
        "value": _at(item, stream.value_path),
    }
    key = _as_name(_at(item, stream.key_path))
    if not stream.key_path:
        key = f"{stream.handle}:{fingerprint(item)}"
    return {
        **{name: value for name, value in found.items() if value is not None},
        "idempotency_key": key,
        "event_name": stream.event_name,
        "properties": item,
    }


def _at(item: Mapping[str, Any], path: str) -> Any:
    return find(item, parse_path(path)) if path else None


def _as_name(value: Any) -> Any:
    """Return a number as the text that names something."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


# --- answers ------------------------------------------------------------------------------------


def _in_their_words(stream: EventStream, receipt: Receipt) -> Receipt:
    return _renamed(
        receipt,
        {
            "subject": stream.subject_path,
            "timestamp": stream.timestamp_path,
            "value": stream.value_path,
            "idempotency_key": stream.key_path,
        },
    )


def _renamed(receipt: Receipt, names: Mapping[str, str]) -> Receipt:
    receipt.field = names.get(receipt.field or "") or receipt.field
    return receipt


def _one(receipt: Receipt, **told: object) -> HttpResponse:
    """Answer about a single event, with what else is ``told``; raise for one not stored."""
    if receipt.status in {ReceiptStatus.ACCEPTED, ReceiptStatus.DUPLICATE}:
        body = {
            "object": "receipt",
            "idempotency_key": receipt.idempotency_key,
            "status": receipt.status,
            "duplicate": receipt.status == ReceiptStatus.DUPLICATE,
            **told,
        }
        if receipt.orphan is not None:
            body["orphan"] = receipt.orphan
        return _json(202 if receipt.status == ReceiptStatus.ACCEPTED else 200, body)
    if receipt.status == ReceiptStatus.CONFLICT:
        raise EventConflict(
            f"Another event was stored under this key for ever: its payload's hash is"
            f" {receipt.stored}, this one's {receipt.sent}.",
            field="idempotency_key",
        )
    code, detail = receipt.reason or "", receipt.detail or ""
    error = FieldError(receipt.field or "", code, detail)
    if code in _UNTIMELY:
        raise EventUntimely(detail, field=receipt.field)
    raise EventImpossible(errors=[error]) if code in _IMPOSSIBLE else EventInvalid(errors=[error])


def _many(receipts: Sequence[Receipt]) -> HttpResponse:
    statuses = [receipt.status for receipt in receipts]
    counted = {status.value: statuses.count(status) for status in ReceiptStatus}
    return _json(202, {"object": "receipts", **counted, "results": receipts})


def _json(status: int, body: object) -> HttpResponse:
    return HttpResponse(_ENCODER.encode(body), status=status, content_type="application/json")
