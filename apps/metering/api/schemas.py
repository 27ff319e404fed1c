"""The shapes of events and receipts, for the documentation: no serializer reads or writes them."""

from typing import Any, Final

from apps.metering.domain import OrphanReason, ReceiptStatus
from apps.metering.intake import (
    LONGEST_KEY,
    LONGEST_NAME,
    MOST_PROPERTIES,
    MOST_PROPERTY_BYTES,
)

_NAME: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME}
_SUBJECT: Final[dict[str, Any]] = {"type": "string", "minLength": 1, "maxLength": LONGEST_KEY}
_DECIMAL: Final[dict[str, Any]] = {
    "type": ["string", "number"],
    "description": "Up to 20 digits and 12 decimals; best sent as a string.",
}

EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["idempotency_key"],
    "additionalProperties": False,
    "properties": {
        "idempotency_key": {
            **_SUBJECT,
            "description": "The same on retries. Another payload with it is a conflict for ever.",
        },
        "event_name": {**_NAME, "description": "What happened. Or name the meter."},
        "meter": {**_NAME, "description": "The key of a meter whose event this is."},
        "metric_key": {**_NAME, "description": "The same as meter."},
        "customer": {**_SUBJECT, "description": "Whose usage it is: an id, or your own id."},
        "customer_id": {**_SUBJECT, "description": "The same as customer."},
        "external_customer_id": {**_SUBJECT, "description": "The same as customer."},
        "subscription": {**_SUBJECT, "description": "Or under which subscription."},
        "subscription_id": {**_SUBJECT, "description": "The same as subscription."},
        "subject": {**_SUBJECT, "description": "Or either: a subscription is looked for first."},
        "timestamp": {
            "type": "string",
            "format": "date-time",
            "description": "When it happened; when it arrives, if left out.",
        },
        "value": _DECIMAL,
        "properties": {
            "type": "object",
            "additionalProperties": True,
            "maxProperties": MOST_PROPERTIES,
            "description": (
                f"Your own data, at most {MOST_PROPERTY_BYTES} bytes. `price_point` names the"
                " price list by which the event is priced."
            ),
        },
    },
}
EVENTS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["events"],
    "additionalProperties": False,
    "properties": {"events": {"type": "array", "minItems": 1, "maxItems": 1000, "items": EVENT}},
}
USAGE: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["meter", "quantity"],
    "additionalProperties": False,
    "properties": {
        "meter": {**_NAME, "description": "The key or id of a meter."},
        "quantity": _DECIMAL,
        "price_point": {**_NAME, "description": "The key of a price list."},
        "memo": {"type": "string"},
        "timestamp": {"type": "string", "format": "date-time", "description": "Or: on arrival."},
        "idempotency_key": {**_SUBJECT, "description": "Or: the Idempotency-Key header."},
    },
}

_STATUS: Final[dict[str, Any]] = {"type": "string", "enum": [str(one) for one in ReceiptStatus]}
_ORPHAN: Final[dict[str, Any]] = {
    "type": "string",
    "enum": [str(one) for one in OrphanReason],
    "description": "It is stored, and waits at the orphan desk for this reason.",
}
RECEIPT: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["object", "idempotency_key", "status", "duplicate"],
    "properties": {
        "object": {"type": "string", "const": "receipt"},
        "idempotency_key": {"type": "string"},
        "status": _STATUS,
        "duplicate": {"type": "boolean"},
        "orphan": _ORPHAN,
    },
}
USAGE_RECEIPT: Final[dict[str, Any]] = {
    "type": "object",
    "required": [*RECEIPT["required"], "subscription", "meter", "quantity"],
    "properties": {
        **RECEIPT["properties"],
        "object": {"type": "string", "const": "usage"},
        "subscription": {"type": "string"},
        "meter": {"type": "string"},
        "quantity": _DECIMAL,
        "price_point": {"type": ["string", "null"]},
        "memo": {"type": ["string", "null"]},
    },
}
RECEIPTS: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["object", "accepted", "duplicate", "conflict", "rejected", "results"],
    "properties": {
        "object": {"type": "string", "const": "receipts"},
        "accepted": {"type": "integer"},
        "duplicate": {"type": "integer"},
        "conflict": {"type": "integer"},
        "rejected": {"type": "integer"},
        "results": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["index", "status"],
                "properties": {
                    "index": {"type": "integer"},
                    "status": _STATUS,
                    "idempotency_key": {"type": "string"},
                    "orphan": _ORPHAN,
                    "stored": {"type": "string", "description": "Hash of the stored payload."},
                    "sent": {"type": "string", "description": "Hash of this one."},
                    "field": {"type": "string", "description": "What is wrong with it."},
                    "reason": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
}
