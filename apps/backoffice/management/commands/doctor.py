"""manage.py doctor: what this installation needs, whether it is there, and how to get it."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any, Final

from celery import current_app
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import Error as DatabaseError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from kombu.exceptions import OperationalError

from apps.backoffice.queries.installation import passed_over, too_powerful
from apps.core.clock import now
from apps.core.models import Heartbeat

_OLDEST_PYTHON: Final = (3, 11)
_OLDEST_POSTGRESQL: Final = 150_000
# Older minor releases let row-level security be got round (CVE-2025-8713).
_SAFE_POSTGRESQL: Final = {15: 150_014, 16: 160_010, 17: 170_006}
_SHORTEST_SECRET_KEY: Final = 50
_HEARTBEAT_MAX_AGE: Final = timedelta(minutes=5)
_CLOCK_TOLERANCE: Final = timedelta(seconds=5)
_GET_PANGO: Final = (
    "Debian, Ubuntu: apt-get install --no-install-recommends libpango-1.0-0 libpangoft2-1.0-0"
    " libharfbuzz-subset0; macOS: brew install pango"
)


@dataclass(frozen=True)
class Finding:
    """The outcome of one check: ok, warning (the system works without) or missing."""

    name: str
    status: str
    found: str
    remedy: str = ""


class Command(BaseCommand):
    help = "Check what this installation needs and say how to get what is missing."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *_args: str, **options: Any) -> None:
        """Print every finding; the exit code is 1 if something that is needed is missing."""
        findings = [check() for check in CHECKS]
        missing = [finding.name for finding in findings if finding.status == "missing"]
        if options["json"]:
            report = {"ok": not missing, "checks": [asdict(finding) for finding in findings]}
            self.stdout.write(json.dumps(report, indent=2))
        else:
            for finding in findings:
                self.stdout.write(f"{finding.status:<8} {finding.name:<11} {finding.found}")
                if finding.remedy:
                    self.stdout.write(f"{'':<20} -> {finding.remedy}")
        if missing:
            raise CommandError(f"Missing: {', '.join(missing)}.")


def check_python() -> Finding:
    """Python is new enough."""
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _OLDEST_PYTHON:
        return Finding("Python", "missing", found, "Install Python 3.11 or newer.")
    return Finding("Python", "ok", found)


def check_postgresql() -> Finding:
    """PostgreSQL answers, is new enough, and agrees with this machine about the time."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "select current_setting('server_version_num')::int,"
                " current_setting('server_version'), clock_timestamp()"
            )
            number, version, its_time = cursor.fetchone()
    except DatabaseError as error:
        said = str(error).strip().splitlines()[0]
        return Finding("PostgreSQL", "missing", said, "Start it, or correct DATABASE_URL.")
    if number < _OLDEST_POSTGRESQL:
        return Finding("PostgreSQL", "missing", version, "Upgrade to PostgreSQL 15 or newer.")
    if number < _SAFE_POSTGRESQL.get(number // 10_000, 0):
        return Finding("PostgreSQL", "warning", version, "Install its newest minor release.")
    if abs(its_time - now()) > _CLOCK_TOLERANCE:
        remedy = "Its clock and this machine's differ; synchronise both."
        return Finding("PostgreSQL", "warning", f"{version}, {its_time.isoformat()}", remedy)
    return Finding("PostgreSQL", "ok", version)


def check_role() -> Finding:
    """The database keeps tenants apart from whoever this is."""
    try:
        found = too_powerful()
    except DatabaseError:
        return Finding("role", "missing", "no database to look at")
    if found:
        remedy = "Connect as a role that owns nothing: deploy/roles.sql makes one."
        return Finding("role", "missing", found, remedy)
    return Finding("role", "ok", "owns nothing")


def check_migrations() -> Finding:
    """The database has every migration of this version of the code."""
    try:
        executor = MigrationExecutor(connection)
        waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except DatabaseError:
        return Finding("migrations", "missing", "no database to look at")
    if waiting:
        return Finding(
            "migrations", "missing", f"{len(waiting)} not applied", "Run: manage.py migrate"
        )
    return Finding("migrations", "ok", "all applied")


def check_cluster() -> Finding:
    """What comes in gets numbers that no reader has passed."""
    try:
        found = passed_over()
    except DatabaseError:
        return Finding("cluster", "missing", "no migrated database to look at")
    if found:
        remedy = "A dump was restored into it; stop what serves and run: manage.py adopt_cluster"
        return Finding("cluster", "missing", found, remedy)
    return Finding("cluster", "ok", "counts on from what has been read")


def check_redis() -> Finding:
    """The broker answers."""
    try:
        with current_app.connection_for_write() as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, timeout=5)
            return Finding("Redis", "ok", broker.as_uri())
    except (OperationalError, OSError) as error:
        return Finding("Redis", "missing", str(error), "Start it, or correct REDIS_URL.")


def check_pango() -> Finding:
    """WeasyPrint can load Pango, so that PDFs can be made."""
    try:
        weasyprint = import_module("weasyprint")
    except OSError as error:
        said = str(error).strip().splitlines()[0]
        return Finding("Pango", "missing", said, _GET_PANGO)
    return Finding("Pango", "ok", f"loaded by WeasyPrint {weasyprint.__version__}")


def check_secret_key() -> Finding:
    """SECRET_KEY is long enough to sign with."""
    length = len(settings.SECRET_KEY)
    if length < _SHORTEST_SECRET_KEY:
        remedy = f"Set SECRET_KEY to at least {_SHORTEST_SECRET_KEY} random characters."
        return Finding("secret key", "missing", f"{length} characters", remedy)
    return Finding("secret key", "ok", f"{length} characters")


def check_heartbeat() -> Finding:
    """Beat, broker and a worker have worked together lately."""
    try:
        newest = Heartbeat.objects.order_by("-beaten_at").first()
    except DatabaseError:
        return Finding("heartbeat", "warning", "no database to look at")
    if newest is None:
        return Finding("heartbeat", "warning", "never", "Start a worker and beat.")
    age = now() - newest.beaten_at
    if age > _HEARTBEAT_MAX_AGE:
        seconds = int(age.total_seconds())
        return Finding("heartbeat", "warning", f"{seconds} s ago", "Start a worker and beat.")
    return Finding("heartbeat", "ok", f"{int(age.total_seconds())} s ago")


CHECKS: Final[tuple[Callable[[], Finding], ...]] = (
    check_python,
    check_postgresql,
    check_role,
    check_migrations,
    check_cluster,
    check_redis,
    check_pango,
    check_secret_key,
    check_heartbeat,
)
