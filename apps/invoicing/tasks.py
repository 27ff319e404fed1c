"""Celery's way in: what is due because time passed, for everybody on real time."""

from celery import shared_task

from apps.core.clock import due_now
from apps.invoicing.operations import billing, closing, drafts


@shared_task(name="invoicing.close_periods")
def close_periods() -> int:
    """Bill everybody for whom something came due; return how many documents that made."""
    return billing.close_due(due_now(), actor="system:close_periods").documents


@shared_task(name="invoicing.issue_drafts")
def issue_drafts() -> int:
    """Issue the drafts whose grace has ended; return how many."""
    return drafts.issue_due(due_now(), actor="system:issue_drafts")


@shared_task(name="invoicing.mark_overdue")
def mark_overdue() -> int:
    """Mark the invoices whose term has ended; return how many."""
    return closing.mark_overdue(due_now(), actor="system:mark_overdue")
