"""Keeping the rollups: a reader that skips no event and counts none twice.

An event is counted once its transaction lies below the horizon of a snapshot: then no transaction
that could still store an event with a lower number is running, so the frontier may move past it.
One reader at a time; the frontier moves in the transaction that writes the rollups. Amendments are
read in the same way: what those below the frontier have taken out is in no rollup.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from apps.core.failpoints import failpoint
from apps.core.tenancy import tenant_scope, tenants_by
from apps.metering.models import MeterVersion, RollupPosition
from apps.metering.queries.books import kept_since, wrong_buckets

CHUNK_EVENTS: Final = 50_000
CHUNK_CUSTOMERS: Final = 200
_LOCK: Final = 4_803_112_021  # of the reader, among advisory locks

_HORIZON: Final = "SELECT first, below, is_any, bound FROM metering_horizon(%s)"
_ADD: Final = """
SELECT metering_add(%(first)s::text::xid8, %(below)s::text::xid8, %(version)s::uuid,
                    %(customers)s::uuid[], %(since)s::timestamptz)
"""
_REMAKE: Final = """
SELECT metering_remake(%(first)s::text::xid8, %(below)s::text::xid8, %(version)s::uuid)
"""
_MARK: Final = """
SELECT metering_mark(%(first)s::text::xid8, %(below)s::text::xid8, %(version)s::uuid,
                     %(customers)s::uuid[])
"""
_BEHIND: Final = "SELECT of_tenant, of_version FROM metering_versions_behind() ORDER BY of_version"
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
    with connection.cursor() as cursor:
        cursor.execute(_BEHIND)
        behind = cursor.fetchall()
    for tenant_id, version_id in behind:
        with tenant_scope(tenant_id):
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
        cursor.execute(_REMAKE, _range(first, below))
        failpoint("metering.rollup.after_remake")
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
            cursor.execute(_REMAKE, _range(target, frontier, version_id))
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
    for owner in [tenant_id] if tenant_id else tenants_by("metering_tenants_with_rollups"):
        with tenant_scope(owner):
            positions = RollupPosition.objects.filter(tenant_id=owner, caught_up=True)
            versions = [
                one.meter_version
                for one in positions.select_related("meter_version__meter").order_by(
                    "meter_version_id"
                )
            ]
        for version in versions:
            with tenant_scope(owner):
                rebuilt = _rebuild(version)
            yield rebuilt


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
