"""What the desk reads about the installation as a whole."""

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from celery import current_app
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from apps.core import jobs
from apps.core.models import Heartbeat

HEARTBEAT_LATE: Final = timedelta(minutes=3)
_SEALING_LATE: Final = timedelta(minutes=10)
_BROKER_SECONDS: Final = 2
_POWER: Final = """
SELECT rolname, rolsuper, rolbypassrls,
       EXISTS (SELECT FROM pg_class c WHERE pg_has_role(r.oid, c.relowner, 'USAGE')
               AND c.relnamespace = 'public'::regnamespace)
FROM pg_roles r WHERE rolname = current_user
"""

_PASSED: Final = """
SELECT max(number), core_number(pg_snapshot_xmax(pg_current_snapshot()))::text
FROM (SELECT below_xid FROM metering_rollupfrontier
      UNION ALL SELECT below_xid FROM wallets_burnfrontier) AS read(number)
WHERE core_is_to_come(number)
"""


def touch_database() -> None:
    """Return if the database answers, raise if not."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def too_powerful() -> str:
    """Return why this process must not serve anybody, "" if it may.

    Whoever owns tables or bypasses row security sees every tenant at once.
    """
    with connection.cursor() as cursor:
        cursor.execute(_POWER)
        name, is_super, bypasses, owns = cursor.fetchone()
    reasons = {"is a superuser": is_super, "bypasses row security": bypasses, "owns tables": owns}
    return next((f"{name} {reason}" for reason, is_so in reasons.items() if is_so), "")


def passed_over() -> str:
    """Return why readers would pass over what comes in, "" if they would not.

    So it is where a dump was restored into a cluster that has counted less far than the one it is
    from, until ``adopt_cluster``.
    """
    with connection.cursor() as cursor:
        cursor.execute(_PASSED)
        number, counted = cursor.fetchone()
    if number is None:
        return ""
    return f"all below transaction {number} has been read, but it has counted to {counted} only"


def migrations_are_pending() -> bool:
    """Say whether the code knows migrations that the database has not seen."""
    executor = MigrationExecutor(connection)
    return bool(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def touch_broker() -> None:
    """Return if the message broker answers within seconds, raise if not."""
    with current_app.connection_for_write(connect_timeout=_BROKER_SECONDS) as broker:
        broker.ensure_connection(max_retries=1, timeout=_BROKER_SECONDS)


def last_heartbeat() -> datetime | None:
    """Return when beat, broker, worker and database last worked together."""
    beat = Heartbeat.objects.filter(name="worker").first()
    return beat.beaten_at if beat else None


def sealing_is_late(at: datetime) -> bool:
    """Say whether audit events of more than ten minutes before ``at`` lie unsealed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT core_is_unsealed_before(%s)", [_first_id_at(at - _SEALING_LATE)])
        return bool(cursor.fetchone()[0])


def jobs_are_stalled(at: datetime) -> bool:
    """Say whether due jobs wait for a worker that does not come."""
    return bool(jobs.stalled(at))


def _first_id_at(at: datetime) -> UUID:
    """Return the smallest id that could have been made in that millisecond."""
    millis = int(at.timestamp()) * 1000
    return UUID(int=millis << 80)
