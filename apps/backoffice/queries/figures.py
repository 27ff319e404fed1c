"""The numbers of the dashboard: how one tenant's business and its machinery stand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, Final
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db.models import (
    Case,
    Count,
    DecimalField,
    Exists,
    F,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    Sum,
    When,
)
from django.db.models.functions import TruncMonth

from apps.backoffice.models import BooksCheck
from apps.catalog.models import PlanVersion
from apps.core.models import Job
from apps.core.tenancy import tenant_scope
from apps.customers.models import Customer
from apps.invoicing.domain import COLLECTABLE, DocumentKind, InvoiceStatus
from apps.invoicing.models import Invoice, ParkedCustomer
from apps.metering.domain import OrphanStatus
from apps.metering.models import Meter, OrphanEvent
from apps.payments.domain import PaymentStatus
from apps.payments.models import Payment, PaymentMethod
from apps.subscriptions.domain import SubscriptionStatus
from apps.subscriptions.models import Subscription
from apps.tenants.models import ApiKey, Tenant

MONTHS: Final = 12
NOTHING: Final = Decimal(0)
_LOOKED_AT: Final = 100
_NUMBER: Final = DecimalField(max_digits=50, decimal_places=12)


@dataclass(frozen=True, slots=True)
class Sums:
    """What documents come to in one currency, and how many they are."""

    currency: str
    amount: Decimal
    count: int


@dataclass(frozen=True, slots=True)
class Month:
    """What was invoiced in a calendar month of the tenant's zone, less credit memos."""

    starts_at: datetime
    ends_at: datetime  # exclusive
    amount: Decimal
    count: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many rows want somebody's attention, and how many there are of what is sold."""

    drafts: int
    unknown_payments: int
    orphans: int
    parked: int
    dead_jobs: int
    failing_jobs: int
    active_subscriptions: int
    customers: int


def month_starts(at: datetime, zone: str, *, count: int = MONTHS) -> list[datetime]:
    """Return the starts of the last ``count`` calendar months in the zone, and of the next."""
    here = at.astimezone(ZoneInfo(zone))
    months = [here.year * 12 + here.month - 1 - back for back in range(count - 1, -2, -1)]
    return [datetime(n // 12, n % 12 + 1, 1, tzinfo=ZoneInfo(zone)) for n in months]


def invoiced_by_month(
    tenant_id: UUID, starts: Sequence[datetime]
) -> Mapping[str, tuple[Month, ...]]:
    """Return, by currency, what was issued in each month; months without documents are zero.

    ``starts`` are the months' starts and, last, the end of the last. Canceled invoices and the
    memos that cancel them count for nothing together, each in its own month.
    """
    zone = starts[0].tzinfo
    rows = (
        Invoice.objects.filter(
            tenant_id=tenant_id, issued_at__gte=starts[0], issued_at__lt=starts[-1]
        )
        .exclude(status=InvoiceStatus.CANCELED)
        .annotate(month=TruncMonth("issued_at", tzinfo=zone))
        .values_list("currency", "month")
        .annotate(amount=_sum(F("total")), count=Count("pk"))
        .order_by("currency", "month")
    )
    found: dict[str, dict[datetime, tuple[Decimal, int]]] = {}
    for currency, month, amount, count in rows:
        found.setdefault(currency, {})[month] = (amount, count)
    nothing = (NOTHING, 0)
    return {
        currency: tuple(
            Month(start, end, *months.get(start, nothing)) for start, end in pairwise(starts)
        )
        for currency, months in found.items()
    }


def owed(tenant_id: UUID) -> tuple[list[Sums], list[Sums]]:
    """Return what customers owe by currency: all of it, and the part that is overdue."""
    due = F("total") - F("credit_applied") - F("balance_applied") - F("amount_paid")
    overdue = Q(status=InvoiceStatus.OVERDUE)
    rows = (
        Invoice.objects.filter(
            tenant_id=tenant_id, kind=DocumentKind.INVOICE, status__in=COLLECTABLE
        )
        .values_list("currency")
        .annotate(
            amount=_sum(due),
            count=Count("pk"),
            late=_sum(Case(When(overdue, then=due), default=NOTHING)),
            late_count=Count("pk", filter=overdue),
        )
        .order_by("currency")
    )
    open_, late = [], []
    for currency, amount, count, late_amount, late_count in rows:
        open_.append(Sums(currency, amount, count))
        if late_count:
            late.append(Sums(currency, late_amount, late_count))
    return open_, late


def _sum(expression: Any) -> Sum:
    # a plain number, where django-money would make a Money of whatever currency is its default
    return Sum(expression, output_field=_NUMBER)


def counts(tenant_id: UUID) -> Counts:
    """Return what wants attention, and how much is sold, in one query."""
    rows: dict[str, QuerySet[Any]] = {
        "drafts": Invoice.objects.filter(status=InvoiceStatus.DRAFT),
        "unknown_payments": Payment.objects.filter(status=PaymentStatus.UNKNOWN),
        "orphans": OrphanEvent.objects.filter(status=OrphanStatus.OPEN),
        "parked": ParkedCustomer.objects.all(),
        "dead_jobs": Job.objects.filter(state=Job.State.DEAD),
        "failing_jobs": Job.objects.filter(state=Job.State.PENDING, attempts__gt=0),
        "active_subscriptions": Subscription.objects.filter(status=SubscriptionStatus.ACTIVE),
        "customers": Customer.objects.all(),
    }
    found = dict[str, Any](
        Tenant.objects.filter(pk=tenant_id)
        .values(**{name: _count_of(one) for name, one in rows.items()})
        .get()
    )
    return Counts(**{name: count or 0 for name, count in found.items()})


def _count_of(rows: QuerySet[Any]) -> Subquery:
    own = rows.filter(tenant_id=OuterRef("pk")).order_by().values("tenant_id")
    return Subquery(own.annotate(n=Count("pk")).values("n"))


def first_steps(tenant_id: UUID) -> Mapping[str, bool]:
    """Return, by step on the way to the first paid invoice, whether it is done; in one query."""
    rows: dict[str, QuerySet[Any]] = {
        "api_key": ApiKey.objects.all(),
        "meter": Meter.objects.all(),
        "plan": PlanVersion.objects.exclude(published_at=None),
        "customer": Customer.objects.all(),
        "subscription": Subscription.objects.all(),
        "payment_method": PaymentMethod.objects.all(),
        "invoice": Invoice.objects.exclude(status=InvoiceStatus.DRAFT),
    }
    return dict[str, Any](
        Tenant.objects.filter(pk=tenant_id)
        .values(
            **{
                name: Exists(one.order_by().filter(tenant_id=OuterRef("pk")))
                for name, one in rows.items()
            }
        )
        .get()
    )


def last_books_check(tenant_id: UUID) -> BooksCheck | None:
    """Return the last nightly check of the tenant's books."""
    return BooksCheck.objects.filter(tenant_id=tenant_id).order_by("-checked_at").first()


def busiest(tenant_ids: Sequence[UUID]) -> UUID | None:
    """Return the first of the tenants that has customers, else the first; None for none.

    Of many tenants, only the first hundred are looked at.
    """
    for one in tenant_ids[:_LOOKED_AT]:
        with tenant_scope(one):
            if Customer.objects.filter(tenant_id=one).exists():
                return one
    return next(iter(tenant_ids), None)
