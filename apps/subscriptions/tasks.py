"""What happens to subscriptions because time passed."""

from uuid import UUID

from celery import shared_task

from apps.core.clock import due_now
from apps.core.jobs import job
from apps.subscriptions import operations
from apps.subscriptions.operations import migrating


@shared_task(name="subscriptions.apply_due_changes")
def apply_due_changes() -> int:
    """Begin, change, renew and end what is due of everybody who lives on real time."""
    return operations.apply_due_changes(due_now())


@shared_task(name="subscriptions.tell_of_endings")
def tell_of_endings() -> int:
    """Tell of what ends soon, of everybody who lives on real time."""
    return operations.tell_of_endings(due_now())


@job("subscriptions.continue_migration")
def continue_migration(subject: str) -> None:
    """Move the next subscriptions of a migration, or move them back."""
    migrating.continue_migration(UUID(subject), actor="system:subscriptions.continue_migration")
