"""The timetable of one invoice's collection. Callers hold the invoice's lock."""

from datetime import datetime

from apps.invoicing.domain import COLLECTABLE
from apps.invoicing.models import Invoice
from apps.payments.domain import next_attempt
from apps.payments.models import Collection
from apps.tenants.models import Tenant


def note_failure(invoice: Invoice, reason: str, *, at: datetime) -> None:
    """Count a failed automatic attempt, and set the next by the tenant's timetable."""
    collection = Collection.objects.get(invoice=invoice)
    collection.attempts += 1
    collection.first_failed_at = collection.first_failed_at or at
    collection.last_failure = reason[:500]
    if collection.closed_at is None and invoice.status in COLLECTABLE:
        days = Tenant.objects.values_list("retry_days", flat=True).get(id=invoice.tenant_id)
        collection.next_attempt_at = next_attempt(
            collection.first_failed_at, collection.attempts, days
        )
    collection.save()


def close_collection(invoice: Invoice, *, at: datetime) -> None:
    """End the effort to collect the invoice, if there is one that is not over; a repeat does nothing."""
    Collection.objects.filter(invoice=invoice, closed_at=None).update(
        closed_at=at, next_attempt_at=None
    )
