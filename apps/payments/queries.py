"""Reading payments and the ways to pay."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import DecimalField, F, OuterRef, QuerySet, Subquery, Sum, Value
from django.db.models.functions import Coalesce

from apps.customers.queries import on_clock
from apps.invoicing.models import CreditPaidOut
from apps.payments.domain import IN_FLIGHT, DisputeStatus, PaymentStatus, RefundStatus
from apps.payments.models import Allocation, Collection, Dispute, Payment, PaymentMethod, Refund


@dataclass(frozen=True, slots=True)
class OnAccount:
    """What a settled payment has left, in its currency."""

    payment_id: UUID
    left: Decimal


_MONEY: Final = DecimalField(max_digits=38, decimal_places=12)


def methods_of(tenant_id: UUID) -> QuerySet[PaymentMethod]:
    """Return the tenant's payment methods, also those detached."""
    return PaymentMethod.objects.filter(tenant_id=tenant_id)


def default_method(customer_id: UUID, *, tenant_id: UUID) -> PaymentMethod | None:
    """Return the method that is charged when none is named."""
    return PaymentMethod.objects.filter(
        tenant_id=tenant_id, customer_id=customer_id, is_default=True
    ).first()


def payments_of(tenant_id: UUID) -> QuerySet[Payment]:
    """Return the tenant's payments, each with what became of it.

    ``allocated`` to invoices, ``refunded`` (or being paid back), ``disputed`` (or lost), and how
    much of the two is ``from_account``: of what was not allocated.
    """
    kept = Refund.objects.exclude(status=RefundStatus.FAILED)
    gone = Dispute.objects.exclude(status=DisputeStatus.WON)
    return Payment.objects.filter(tenant_id=tenant_id).annotate(
        allocated=_summed(Allocation.objects.all(), "amount"),
        refunded=_summed(kept, "amount"),
        disputed=_summed(gone, "amount"),
        from_account=_summed(kept, "from_account") + _summed(gone, "from_account"),
    )


def left_of(payment: Any) -> Decimal:
    """Return what of a payment, as ``payments_of`` has it, is not refunded (or being) or disputed."""
    left: Decimal = payment.amount.amount - payment.refunded - payment.disputed
    return left


def unapplied_of(payment: Any) -> Decimal:
    """Return what of a payment, as ``payments_of`` has it, is on the customer's account."""
    left: Decimal = payment.amount.amount - payment.allocated - payment.from_account
    return left


def _summed(parts: QuerySet[Any], column: str) -> Coalesce:
    of_payment = parts.filter(payment=OuterRef("pk")).order_by().values("payment")
    total = of_payment.annotate(total=Sum(column)).values("total")
    return Coalesce(Subquery(total, output_field=_MONEY), Value(Decimal(0)), output_field=_MONEY)


def refunds_of(tenant_id: UUID) -> QuerySet[Refund]:
    """Return the tenant's refunds, those that failed too, each with the ``credit_memos`` it takes from."""
    parts = CreditPaidOut.objects.filter(refund_id=OuterRef("pk")).order_by("id")
    return Refund.objects.filter(tenant_id=tenant_id).annotate(
        credit_memos=ArraySubquery(parts.values("credit_memo_id"))
    )


def disputes_of(tenant_id: UUID) -> QuerySet[Dispute]:
    """Return the tenant's disputes, those decided too."""
    return Dispute.objects.filter(tenant_id=tenant_id)


def payment_in_flight(invoice_id: UUID) -> Payment | None:
    """Return the attempt at the invoice whose outcome is open, if there is one."""
    return Payment.objects.filter(invoice_id=invoice_id, status__in=IN_FLIGHT).first()


def money_on_account(customer_id: UUID, currency: str, *, tenant_id: UUID) -> list[OnAccount]:
    """Return what came in beyond what was due, the oldest first; it pays the next invoices."""
    left = (
        payments_of(tenant_id)
        .filter(customer_id=customer_id, currency=currency, status=PaymentStatus.SUCCEEDED)
        .annotate(left=F("amount") - F("allocated") - F("from_account"))
        .filter(left__gt=0)
        .order_by("id")
        .values_list("id", "left")
    )
    return [OnAccount(payment_id, amount) for payment_id, amount in left]


def collections_due(
    at: datetime, *, clock_id: UUID | None = None, tenant_id: UUID | None = None
) -> QuerySet[Collection]:
    """Return the collections that want an attempt by ``at``, of customers on the clock."""
    due = Collection.objects.filter(
        on_clock(clock_id, "invoice__customer__"), next_attempt_at__lte=at
    )
    return due if tenant_id is None else due.filter(tenant_id=tenant_id)


def outcomes_to_ask_for(
    at: datetime, *, clock_id: UUID | None = None, tenant_id: UUID | None = None
) -> QuerySet[Payment]:
    """Return the payments with an open outcome to be asked for by ``at``, on the clock."""
    due = Payment.objects.filter(on_clock(clock_id, "customer__"), ask_after__lte=at)
    return due if tenant_id is None else due.filter(tenant_id=tenant_id)


def refunds_to_ask_for(
    at: datetime, *, clock_id: UUID | None = None, tenant_id: UUID | None = None
) -> QuerySet[Refund]:
    """Return the refunds with an open outcome to be asked for by ``at``, on the clock."""
    due = Refund.objects.filter(on_clock(clock_id, "customer__"), ask_after__lte=at)
    return due if tenant_id is None else due.filter(tenant_id=tenant_id)
