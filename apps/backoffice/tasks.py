"""Celery's way in."""

from uuid import UUID

from celery import shared_task

from apps.backoffice.operations import clocks
from apps.backoffice.operations.books import store_books_check
from apps.core.clock import now
from apps.core.jobs import job
from apps.tenants.models import Tenant


@shared_task(name="backoffice.check_books")
def check_books() -> int:
    """Check every tenant's books and keep what was found; return the number of breaches."""
    tenants = Tenant.objects.order_by("id").values_list("id", flat=True)
    return sum(store_books_check(one, at=now()).breaches for one in tenants)


@job("backoffice.advance_clock")
def advance_clock(subject: str) -> None:
    """Go on with the advance of a test clock that its request has left unfinished."""
    clocks.take_over(UUID(subject), wall=now)
