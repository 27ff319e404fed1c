"""Celery's way in."""

from datetime import timedelta

from celery import shared_task

from apps.core import audit, jobs
from apps.core.clock import now
from apps.core.models import Heartbeat


@shared_task(name="core.run_due_jobs")
def run_due_jobs() -> int:
    """Run whatever jobs are due, for less time than a task may take."""
    return jobs.run_due(within=timedelta(minutes=4))


@shared_task(name="core.seal_audit")
def seal_audit() -> int:
    """Link new audit events into their tenants' chains."""
    return audit.seal_events()


@shared_task(name="core.beat")
def beat() -> None:
    """Show that beat, broker, worker and database work together."""
    Heartbeat.objects.update_or_create(name="worker", defaults={"beaten_at": now()})
