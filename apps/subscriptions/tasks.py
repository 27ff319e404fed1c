"""What happens to subscriptions because time passed."""

from celery import shared_task

from apps.core.clock import due_now
from apps.subscriptions import operations


@shared_task(name="subscriptions.apply_due_changes")
def apply_due_changes() -> int:
    """Begin, change, renew and end what is due of everybody who lives on real time."""
    return operations.apply_due_changes(due_now())
