"""Reading events that are to be amended, and what amendments did."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.db import connection

from apps.metering.domain import AmendedEvent, EventSelection, filters_document
from apps.metering.intake import event_id

_COLUMNS: Final = """
e.seq, e.id, e.key, e.customer_id, e.subscription_id, e.event_name, e.occurred_at,
e.ingest_xid::text, e.value, e.properties::text
"""
_COUNTS: Final = """
coalesce((SELECT sum(x.sign) FROM metering_eventeffect x WHERE x.seq = e.seq), 0) = 0
"""
# one after the other, each where its key says that it lies
_BY_KEY: Final = f"""
SELECT {_COLUMNS}, {_COUNTS}
FROM unnest(%(ids)s::uuid[]) AS i(id)
JOIN metering_usageeventkey k ON k.id = i.id
CROSS JOIN LATERAL (
  SELECT u.* FROM metering_usageevent u
  WHERE u.occurred_at = k.occurred_at AND u.id = k.id AND u.tenant_id = %(tenant)s OFFSET 0
) AS e
ORDER BY e.seq
"""  # noqa: S608 -- constants
_WITHIN: Final = f"""
SELECT {_COLUMNS}, true
FROM metering_usageevent e
WHERE e.tenant_id = %(tenant)s AND e.occurred_at >= %(start)s AND e.occurred_at < %(end)s
  AND (%(event_name)s = '' OR e.event_name = %(event_name)s)
  AND (%(customer)s::uuid IS NULL OR e.customer_id = %(customer)s)
  AND (%(subscription)s::uuid IS NULL OR e.subscription_id = %(subscription)s)
  AND (%(filters)s = '[]' OR metering_matches(%(filters)s::jsonb, e.properties))
  AND {_COUNTS}
ORDER BY e.seq LIMIT %(most)s
"""  # noqa: S608 -- constants
_STORED: Final = f"""
SELECT {_COLUMNS}, true
FROM metering_usageevent e
WHERE e.ingest_xid = core_number(pg_current_xact_id())
  AND e.tenant_id = %(tenant)s AND e.key = ANY (%(keys)s)
ORDER BY e.seq
"""  # noqa: S608 -- constants
_EFFECTS: Final = """
SELECT sign, key, customer_id, subscription_id, event_name, occurred_at, number
FROM metering_eventeffect
WHERE amendment_id = %s AND number > %s ORDER BY number LIMIT %s
"""
_TOUCHED: Final = """
SELECT customer_id, min(occurred_at) FROM metering_eventeffect WHERE amendment_id = %s
GROUP BY customer_id ORDER BY customer_id
"""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event as it is stored; ``xid`` is the transaction that stored it."""

    seq: int
    id: UUID
    key: str
    customer_id: UUID
    subscription_id: UUID | None
    event_name: str
    occurred_at: datetime
    xid: str
    value: Decimal | None
    document: str  # its properties as JSON
    counts: bool

    @property
    def properties(self) -> dict[str, object]:
        """Its properties, with decimals for numbers that have a point."""
        read: dict[str, object] = json.loads(self.document, parse_float=Decimal)
        return read


def events_selected(tenant_id: UUID, selection: EventSelection, *, most: int) -> list[StoredEvent]:
    """Return the events that a selection means, in the order of arrival; one more than ``most``.

    By keys, also those that do not count any more; otherwise only those that do.
    """
    if selection.keys:
        ids = [event_id(tenant_id, key) for key in selection.keys]
        return _read(_BY_KEY, {"ids": ids, "tenant": tenant_id})
    return _read(
        _WITHIN,
        {
            "tenant": tenant_id,
            "start": selection.start,
            "end": selection.end,
            "event_name": selection.event_name,
            "customer": selection.customer_id,
            "subscription": selection.subscription_id,
            "filters": json.dumps(filters_document(selection.filters)),
            "most": most + 1,
        },
    )


def events_stored_now(tenant_id: UUID, keys: Sequence[str]) -> list[StoredEvent]:
    """Return the events with these keys that this transaction has stored."""
    return _read(_STORED, {"tenant": tenant_id, "keys": list(keys)})


def events_amended(amendment_id: UUID, *, after: int = 0, limit: int) -> list[AmendedEvent]:
    """Return what an amendment did to each event: at most ``limit``, after the ``number`` given."""
    with connection.cursor() as cursor:
        cursor.execute(_EFFECTS, [amendment_id, after, limit])
        return [AmendedEvent(*row) for row in cursor.fetchall()]


def customers_amended(amendment_id: UUID) -> dict[UUID, datetime]:
    """Return the customers whose usage an amendment changed, and from which instant on."""
    with connection.cursor() as cursor:
        cursor.execute(_TOUCHED, [amendment_id])
        return dict(cursor.fetchall())


def _read(statement: str, parameters: dict[str, Any]) -> list[StoredEvent]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return [StoredEvent(*row) for row in cursor.fetchall()]
