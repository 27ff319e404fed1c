"""What will come due on a test clock."""

from collections.abc import Iterator
from datetime import datetime
from uuid import UUID

from django.db.models import Model, QuerySet, Subquery

from apps.customers.queries import on_clock
from apps.invoicing.domain import InvoiceStatus
from apps.invoicing.models import Invoice
from apps.payments.models import Collection, Payment, Refund
from apps.subscriptions.domain import HOLDING, ChangeStatus, SubscriptionStatus
from apps.subscriptions.models import ScheduledChange, Subscription
from apps.subscriptions.noticing import endings
from apps.tenants.models import TestClock
from apps.wallets.domain import GrantStatus, HoldStatus
from apps.wallets.models import CreditGrant, CreditHold, TopOffRule


def next_due(clock_id: UUID, *, tenant_id: UUID, after: datetime) -> datetime | None:
    """Return, in one query, the first instant after ``after`` at which something comes due on the clock.

    None if nothing will. What was due before and could not be done (a parked customer) is no
    reason to stop anywhere: it is tried again at every stop.
    """
    firsts = [
        Subquery(
            rows.filter(on_clock(clock_id, way), tenant_id=tenant_id, **{f"{column}__gt": after})
            .order_by(column)
            .values(column)[:1]
        )
        for rows, way, column in _due_rows()
    ]
    found = TestClock.objects.filter(pk=clock_id).values_list(*firsts).get()
    return min((one for one in found if one is not None), default=None)


def _due_rows() -> Iterator[tuple[QuerySet[Model], str, str]]:
    """Yield rows that come due, the way from them to their customer, and the column that tells."""
    subscriptions = Subscription.objects.all()
    begun = subscriptions.filter(status__in=HOLDING)
    yield subscriptions.filter(status=SubscriptionStatus.SCHEDULED), "customer__", "started_at"
    yield subscriptions, "customer__", "next_bill_at"
    yield begun, "customer__", "ends_at"
    yield begun, "customer__", "term_ends_at"
    for one in endings():
        yield one.rows, one.customer, "tell_at"
    changes = ScheduledChange.objects.filter(status=ChangeStatus.PENDING)
    yield changes, "subscription__customer__", "effective_at"
    yield Invoice.objects.filter(status=InvoiceStatus.DRAFT), "customer__", "issue_after"
    open_ = Invoice.objects.filter(status__in=(InvoiceStatus.ISSUED, InvoiceStatus.PARTIALLY_PAID))
    yield open_, "customer__", "due_at"
    yield Collection.objects.all(), "invoice__customer__", "next_attempt_at"
    yield Payment.objects.all(), "customer__", "ask_after"
    yield Refund.objects.all(), "customer__", "ask_after"
    credit = CreditGrant.objects.filter(status=GrantStatus.AVAILABLE)
    yield credit, "wallet__customer__", "expires_at"
    yield credit, "wallet__customer__", "remind_at"
    begins = CreditGrant.objects.filter(status=GrantStatus.SCHEDULED)
    yield begins, "wallet__customer__", "effective_at"
    yield CreditHold.objects.filter(status=HoldStatus.OPEN), "wallet__customer__", "expires_at"
    yield TopOffRule.objects.all(), "wallet__customer__", "not_before"
