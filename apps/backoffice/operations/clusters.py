"""Taking a database over into a cluster that counts its transactions anew."""

from dataclasses import dataclass
from typing import Final

from django.db import connections, transaction

# every place that remembers transactions, other than in its own transaction
_REMEMBERED: Final = """
SELECT max(number), core_is_to_come(max(number)),
       max(number) + 1 - pg_snapshot_xmin(pg_current_snapshot())::text::bigint
FROM (
  SELECT below_xid FROM metering_rollupfrontier
  UNION ALL SELECT greatest(born_xid, target_xid) FROM metering_rollupposition
  UNION ALL SELECT max(ingest_xid)::text::bigint FROM metering_usageevent
  UNION ALL SELECT max(xid)::text::bigint FROM metering_eventeffect
  UNION ALL SELECT below_xid FROM wallets_burnfrontier
  UNION ALL SELECT pg_snapshot_xmax(snapshot::pg_snapshot)::text::bigint FROM wallets_burnedahead
  UNION ALL SELECT pg_snapshot_xmax(usage_snapshot::pg_snapshot)::text::bigint
  FROM invoicing_invoice WHERE usage_snapshot <> ''
) AS remembered(number)
"""
# until those who write or read by the old numbers have ended, and before others begin
_LOCK: Final = """
LOCK TABLE metering_rollupfrontier, wallets_burnfrontier, metering_usageevent, metering_eventeffect,
           wallets_burnedahead IN SHARE ROW EXCLUSIVE MODE
"""


@dataclass(frozen=True, slots=True)
class Adoption:
    """What was found: the largest number that is remembered, and whether it was still to come."""

    remembered: int
    was_to_come: bool


def adopt_cluster(*, database: str) -> Adoption:
    """Let transactions of this cluster be remembered under numbers above all that are remembered.

    Nothing that is stored changes: what readers have read stays read, what they have not they read
    next, once. Where no number is to come it changes nothing, as does a repeat. ``database`` is the
    connection of the role that owns the tables. Raises ``ProgrammingError`` if that does not see
    the rows of all tenants.
    """
    with transaction.atomic(using=database), connections[database].cursor() as cursor:
        cursor.execute("SET LOCAL row_security = off")  # an error is better than half of the rows
        cursor.execute(_LOCK)
        cursor.execute(_REMEMBERED)
        number, is_to_come, ahead = cursor.fetchone()
        if is_to_come:
            cursor.execute("SELECT core_count_on(%s)", [ahead])
    return Adoption(number, is_to_come)
