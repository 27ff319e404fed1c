"""What is answered: receipts, or what was wrong with the one event of a request."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from django.http import HttpResponse

from apps.core.errors import Conflict, FieldError, Invalid
from apps.core.web.parsing import RequestInvalid
from apps.metering.domain import Receipt, ReceiptStatus

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


def renamed(receipt: Receipt, names: Mapping[str, str]) -> Receipt:
    """Return a receipt that names its field as the caller does."""
    receipt.field = names.get(receipt.field or "") or receipt.field
    return receipt


def about_one(receipt: Receipt, **told: object) -> HttpResponse:
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


def about_many(receipts: Sequence[Receipt]) -> HttpResponse:
    """Answer about each of a batch, whatever became of it."""
    statuses = [receipt.status for receipt in receipts]
    counted = {status.value: statuses.count(status) for status in ReceiptStatus}
    return _json(202, {"object": "receipts", **counted, "results": receipts})


def _json(status: int, body: object) -> HttpResponse:
    return HttpResponse(_ENCODER.encode(body), status=status, content_type="application/json")
