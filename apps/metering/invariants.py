"""Rows of metering that must not exist."""

from collections.abc import Iterator
from uuid import UUID

from django.db import connection

from apps.core.books import rows_that_break
from apps.metering.models import RollupPosition
from apps.metering.queries.books import wrong_buckets


def rollups_equal_events(tenant_id: UUID | None) -> Iterator[str]:
    """Yield every rollup that is not what its events give when they are counted anew."""
    versions = RollupPosition.objects.filter(caught_up=True)
    if tenant_id is not None:
        versions = versions.filter(tenant_id=tenant_id)
    for version_id in list(versions.values_list("meter_version_id", flat=True)):
        yield from wrong_buckets(version_id)


def every_event_has_its_key(tenant_id: UUID | None) -> Iterator[str]:
    """Yield every event, or orphan, that is stored twice or without the key that makes it once."""
    with connection.cursor() as cursor:
        cursor.execute(_WITHOUT_KEY, {"tenant": tenant_id})
        for key, tenant, copies in cursor.fetchall():
            yield f"the event {key!r} of tenant {tenant} is stored {copies} times with its key"


def nothing_to_come_is_read(tenant_id: UUID | None) -> Iterator[str]:
    """What the reader has passed lies behind: a transaction with such a number would not be read."""
    for (number,) in rows_that_break(_READ_TO_COME, tenant_id):
        yield f"all below transaction {number} is rolled up, and that is still to come"


_READ_TO_COME = "SELECT below_xid FROM metering_rollupfrontier WHERE core_is_to_come(below_xid)"
_WITHOUT_KEY = """
SELECT e.key, e.tenant_id, count(k.id)
FROM (
  SELECT id, tenant_id, key FROM metering_usageevent
  UNION ALL
  SELECT encode(substr(sha256(uuid_send(tenant_id) || convert_to(key, 'UTF8')), 1, 16), 'hex')::uuid,
         tenant_id, key
  FROM metering_orphanevent WHERE status = 'open'
) AS e
LEFT JOIN metering_usageeventkey k ON k.id = e.id
WHERE %(tenant)s::uuid IS NULL OR e.tenant_id = %(tenant)s
GROUP BY e.id, e.key, e.tenant_id
HAVING count(*) <> 1 OR count(k.id) <> 1
ORDER BY e.key
"""

RULES = (rollups_equal_events, every_event_has_its_key, nothing_to_come_is_read)
