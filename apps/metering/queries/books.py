"""What the rollups say against what the events say."""

from collections.abc import Iterator
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import connection

from apps.metering.models import EventsDropped

# one statement, so that the frontier and the rollups are of one snapshot
_WRONG: Final = """
SELECT coalesce(r.customer_id, b.customer_id), coalesce(r.grain, b.grain),
       coalesce(r.starts_at, b.starts_at), coalesce(r."group", b."group"),
       r.count, b.count, r.total, b.total
FROM (SELECT * FROM metering_usagerollup u
      WHERE u.meter_version_id = %(version)s
        AND (%(since)s::timestamptz IS NULL OR u.starts_at >= %(since)s)) AS r
FULL JOIN (
  SELECT x.*, md5(x."group")::uuid AS group_hash
  FROM metering_rollupfrontier f, metering_buckets(
    '0'::xid8, f.below_xid::text::xid8, %(version)s::uuid, NULL, %(since)s::timestamptz) AS x
) AS b
  ON r.customer_id = b.customer_id AND r.grain = b.grain AND r.starts_at = b.starts_at
 AND r.group_hash = b.group_hash
 AND coalesce(r.subscription_id, r.customer_id) = coalesce(b.subscription_id, b.customer_id)
WHERE (r.count, r.total, r.moment, r.low, r.high, r.last_at, r.last_seq, r.last_value)
      IS DISTINCT FROM
      (b.count, b.total, b.moment, b.low, b.high, b.last_at, b.last[2], b.last[3])
ORDER BY 1, 2, 3, 4
"""


def kept_since() -> datetime | None:
    """Return the instant before which retention has dropped events; None if it dropped none."""
    return EventsDropped.objects.values_list("before", flat=True).first()


def wrong_buckets(version_id: UUID) -> Iterator[str]:
    """Yield a sentence for every rollup of a caught-up version that its events contradict.

    What retention has dropped cannot be compared and is left out.
    """
    with connection.cursor() as cursor:
        cursor.execute(_WRONG, {"version": version_id, "since": kept_since()})
        for customer_id, grain, starts_at, group, kept, counted, total, sum_of in cursor.fetchall():
            yield (
                f"meter version {version_id}, customer {customer_id}, {grain} {starts_at:%Y-%m-%d %H}h,"
                f" group {group}: the rollup has {kept or 0} events and {total or 0},"
                f" the events are {counted or 0} and {sum_of or 0}"
            )
