"""Keeping the rollups: a reader that skips no event and counts none twice.

An event is counted once its transaction lies below the horizon of a snapshot: then no transaction
that could still store an event with a lower number is running, so the frontier may move past it.
One reader at a time; the frontier moves in the transaction that writes the rollups.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from apps.core.failpoints import failpoint
from apps.metering.models import MeterVersion, RollupPosition
from apps.metering.queries.books import kept_since, wrong_buckets

CHUNK_EVENTS: Final = 50_000
CHUNK_CUSTOMERS: Final = 200
_LOCK: Final = 4_803_112_021  # of the reader, among advisory locks

_HORIZON: Final = """
SELECT f.below_xid, h.xid::text::bigint,
       EXISTS (SELECT FROM metering_usageevent e
               WHERE e.ingest_xid >= f.below_xid::text::xid8 AND e.ingest_xid < h.xid),
       (SELECT e.ingest_xid::text::bigint + 1 FROM metering_usageevent e
        WHERE e.ingest_xid >= f.below_xid::text::xid8 AND e.ingest_xid < h.xid
        ORDER BY e.ingest_xid LIMIT 1 OFFSET %s)
FROM metering_rollupfrontier f, (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xid) AS h
"""
_ADD: Final = """
INSERT INTO metering_usagerollup AS r
  (meter_version_id, tenant_id, customer_id, subscription_id, grain, starts_at, "group",
   group_hash, count, total, moment, low, high, last_at, last_seq, last_value)
SELECT meter_version_id, tenant_id, customer_id, subscription_id, grain, starts_at, "group",
       md5("group")::uuid, count, total, moment, low, high, last_at, last[2], last[3]
FROM metering_buckets(%(first)s::text::xid8, %(below)s::text::xid8, %(version)s::uuid,
                      %(customers)s::uuid[], %(since)s::timestamptz)
ORDER BY customer_id, meter_version_id, grain, starts_at
ON CONFLICT (customer_id, meter_version_id, grain, starts_at, subscription_id, group_hash)
DO UPDATE SET
  count = r.count + excluded.count, total = r.total + excluded.total,
  moment = r.moment + excluded.moment, low = least(r.low, excluded.low),
  high = greatest(r.high, excluded.high),
  last_value = CASE WHEN (excluded.last_at, excluded.last_seq) > (r.last_at, r.last_seq)
                    THEN excluded.last_value ELSE r.last_value END,
  last_seq = CASE WHEN (excluded.last_at, excluded.last_seq) > (r.last_at, r.last_seq)
                  THEN excluded.last_seq ELSE r.last_seq END,
  last_at = greatest(r.last_at, excluded.last_at)
"""
_MARK: Final = """
WITH changed AS (
  SELECT e.customer_id, e.tenant_id, min(e.occurred_at) AS since, count(*) AS count
  FROM metering_countedevent e
  JOIN metering_rollupposition p ON p.meter_version_id = e.meter_version_id
  WHERE e.ingest_xid >= %(first)s::text::xid8 AND e.ingest_xid < %(below)s::text::xid8
    AND (e.meter_version_id = %(version)s::uuid OR (%(version)s::uuid IS NULL AND p.caught_up))
    AND (%(customers)s::uuid[] IS NULL OR e.customer_id = ANY (%(customers)s::uuid[]))
  GROUP BY 1, 2
), marked AS (
  INSERT INTO metering_changedusage AS c (customer_id, tenant_id, since, mark)
  SELECT customer_id, tenant_id, since, nextval('metering_changedusage_mark')
  FROM changed ORDER BY customer_id
  ON CONFLICT (customer_id) DO UPDATE
  SET since = least(c.since, excluded.since), mark = excluded.mark
)
SELECT coalesce(sum(count), 0)::bigint FROM changed
"""
_CUSTOMERS: Final = """
SELECT id FROM customers_customer
WHERE tenant_id = %s AND (%s::uuid IS NULL OR id > %s) ORDER BY id LIMIT %s
"""


class ReaderOvertaken(RuntimeError):
    """The frontier moved under the reader's lock: a defect, not a condition to handle."""


def roll_up() -> int:
    """Count every event that can be counted; return how often events were counted by versions.

    Safe to run at any time, twice at once and after any crash: a second reader returns at once,
    and what was not committed is counted by the next one. Customers whose usage changed are
    marked in the same transactions.
    """
    counted = 0
    while (step := _advance()) is not None:
        counted += step
        failpoint("metering.rollup.after_advance")
    for version_id in list(
        RollupPosition.objects.filter(caught_up=False)
        .order_by("meter_version_id")
        .values_list("meter_version_id", flat=True)
    ):
        while (step := _catch_up(version_id)) is not None:
            counted += step
    return counted


@transaction.atomic
def _advance() -> int | None:
    """Move the frontier by a chunk; None if there is nothing to read or somebody else reads."""
    if not _alone(wait=False):
        return None
    with connection.cursor() as cursor:
        cursor.execute(_HORIZON, [CHUNK_EVENTS])
        first, horizon, is_any, bound = cursor.fetchone()
        if not is_any:
            return None
        below = horizon if bound is None else min(bound, horizon)
        cursor.execute(_ADD, _range(first, below))
        failpoint("metering.rollup.after_add")
        cursor.execute(_MARK, _range(first, below))
        failpoint("metering.rollup.after_mark")
        (counted,) = cursor.fetchone()
        cursor.execute(
            "UPDATE metering_rollupfrontier SET below_xid = %s WHERE below_xid = %s",
            [below, first],
        )
        if cursor.rowcount != 1:
            raise ReaderOvertaken("somebody moved the frontier without the reader's lock")
    failpoint("metering.rollup.before_commit")
    return int(counted)


@transaction.atomic
def _catch_up(version_id: UUID) -> int | None:
    """Count a version's earlier events for some customers; None once there is nothing to do.

    What was there before the version was made was never billed by it, so it marks nothing changed.
    """
    if not _alone(wait=False):
        return None
    position = RollupPosition.objects.select_for_update().get(pk=version_id)
    if position.caught_up:
        return None
    with connection.cursor() as cursor:
        cursor.execute("SELECT below_xid FROM metering_rollupfrontier")
        (frontier,) = cursor.fetchone()
        target = frontier if position.target_xid is None else position.target_xid
        after = position.after_customer
        cursor.execute(_CUSTOMERS, [position.tenant_id, after, after, CHUNK_CUSTOMERS])
        customers = [row[0] for row in cursor.fetchall()]
        if customers:
            cursor.execute(_ADD, _range(0, target, version_id, customers))
            failpoint("metering.catch_up.after_add")
            cursor.execute(_MARK, _range(position.born_xid, target, version_id, customers))
            position.target_xid, position.after_customer = target, customers[-1]
        else:
            cursor.execute(_ADD, _range(target, frontier, version_id))
            cursor.execute(_MARK, _range(target, frontier, version_id))
            position.target_xid, position.after_customer = None, None
            position.caught_up = True
        (counted,) = cursor.fetchone()
    position.save()
    failpoint("metering.catch_up.before_commit")
    return int(counted)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What rebuilding a version's rollups found: how many buckets, and how many were wrong."""

    name: str
    buckets: int
    wrong: int


def rebuild_rollups(tenant_id: UUID | None = None) -> Iterator[Rebuilt]:
    """Recompute the rollups of a tenant, or of all, from the events, version by version.

    Each version is a transaction of its own. What retention has dropped stays as it was counted.
    A repeat finds nothing wrong.
    """
    versions = RollupPosition.objects.filter(caught_up=True)
    if tenant_id is not None:
        versions = versions.filter(tenant_id=tenant_id)
    for position in list(
        versions.select_related("meter_version__meter").order_by("meter_version_id")
    ):
        yield _rebuild(position.meter_version)


@transaction.atomic
def _rebuild(version: MeterVersion) -> Rebuilt:
    _alone(wait=True)
    version_id = version.pk
    wrong = sum(1 for _ in wrong_buckets(version_id))
    since = kept_since()
    with connection.cursor() as cursor:
        cursor.execute("SELECT below_xid FROM metering_rollupfrontier")
        (frontier,) = cursor.fetchone()
        if wrong:
            cursor.execute(
                "DELETE FROM metering_usagerollup WHERE meter_version_id = %s"
                " AND (%s::timestamptz IS NULL OR starts_at >= %s)",
                [version_id, since, since],
            )
            cursor.execute(_ADD, _range(0, frontier, version_id, since=since))
        cursor.execute(
            "SELECT count(*) FROM metering_usagerollup WHERE meter_version_id = %s", [version_id]
        )
        (buckets,) = cursor.fetchone()
    return Rebuilt(str(version), buckets, wrong)


def _range(
    first: int,
    below: int,
    version_id: UUID | None = None,
    customers: list[UUID] | None = None,
    since: datetime | None = None,
) -> dict[str, Any]:
    return {
        "first": str(first),
        "below": str(below),
        "version": version_id,
        "customers": customers,
        "since": since,
    }


def _alone(*, wait: bool) -> bool:
    """Take the reader's lock until the end of the transaction; say whether that worked."""
    with connection.cursor() as cursor:
        if wait:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            return True
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK])
        return bool(cursor.fetchone()[0])
