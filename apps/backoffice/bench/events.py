"""Events as callers send them, and the rows that they become."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

from apps.backoffice.bench.world import (
    METERS,
    World,
    customer_id,
    subscription_id,
    subscription_name,
)

KEY_COLUMNS: Final = ("id", "fingerprint", "occurred_at")
EVENT_COLUMNS: Final = (
    *("tenant_id", "id", "customer_id", "subscription_id", "event_name", "occurred_at", "value"),
    *("properties", "key", "received_at"),
)
_NAMES: Final = tuple(METERS)
_PROPERTIES: Final = {"region": "eu-west", "path": "/v1/things"}
# steps that visit everything before they come back: primes that divide no size in use
_SUBJECT_STEP: Final = 7_919
_TIME_STEP: Final = 104_729
_INSTANTS: Final = 1_000_003


def events(world: World, label: str, count: int) -> list[dict[str, Any]]:
    """Return new events of all subscriptions, at all times of the month, in no order.

    Those of one label are always the same.
    """
    return [_event(world, label, number) for number in range(count)]


def batches(found: Sequence[dict[str, Any]], size: int) -> list[list[dict[str, Any]]]:
    """Return the events in batches."""
    return [list(found[first : first + size]) for first in range(0, len(found), size)]


def key_rows(world: World, found: Sequence[dict[str, Any]]) -> bytes:
    """Return what COPY stores in ``KEY_COLUMNS`` for the events, in the order of ingestion."""
    rows = sorted((_id(world, one), one["timestamp"]) for one in found)
    return "".join([f"{key.hex}\t{key.hex}\t{at}\n" for key, at in rows]).encode()


def event_rows(world: World, found: Sequence[dict[str, Any]]) -> bytes:
    """Return what COPY stores in ``EVENT_COLUMNS`` for the events."""
    return "".join([_row(world, one) for one in found]).encode()


def _event(world: World, label: str, number: int) -> dict[str, Any]:
    moment = number * _TIME_STEP % _INSTANTS
    at = world.month.start + (world.month.end - world.month.start) * moment / _INSTANTS
    return {
        "idempotency_key": hashlib.sha256(f"{label}-{number}".encode()).hexdigest()[:32],
        "event_name": _NAMES[number % len(_NAMES)],
        "subscription": subscription_name(_subject(world, number)),
        "timestamp": at.isoformat(),
        "value": str(1 + number % 1_000),
        "properties": _PROPERTIES,
    }


def _subject(world: World, number: int) -> int:
    return 1 + number * _SUBJECT_STEP % world.subscriptions


def _id(world: World, event: dict[str, Any]) -> UUID:
    text = world.tenant_id.bytes + event["idempotency_key"].encode()
    return UUID(bytes=hashlib.sha256(text).digest()[:16])


def _row(world: World, event: dict[str, Any]) -> str:
    subject = int(event["subscription"].rpartition("-")[2])
    values = (
        world.tenant_id,
        _id(world, event),
        customer_id(subject),
        subscription_id(subject),
        event["event_name"],
        event["timestamp"],
        event["value"],
        json.dumps(event["properties"]),
        event["idempotency_key"],
        world.month.end.isoformat(),
    )
    return "\t".join(map(str, values)) + "\n"
