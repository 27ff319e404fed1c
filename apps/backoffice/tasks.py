"""Celery's way in."""

from uuid import UUID

from celery import shared_task

from apps.backoffice.operations import clocks
from apps.backoffice.operations.books import store_books_check
from apps.core.clock import now
from apps.core.jobs import job
from apps.core.tenancy import tenant_scope
from apps.tenants.models import Tenant


@shared_task(name="backoffice.check_books")
def check_books() -> int:
    """Check every tenant's books and keep what was found; return the number of breaches."""
    tenants = Tenant.objects.order_by("id").values_list("id", flat=True)
    breaches = 0
    for one in list(tenants):
        with tenant_scope(one):
            breaches += store_books_check(one, at=now()).breaches
    return breaches


@job("backoffice.advance_clock")
def advance_clock(subject: str) -> None:
    """Go on with the advance of a test clock that its request has left unfinished."""
    clocks.take_over(UUID(subject), wall=now)
