"""Where received money goes: to its invoice, what is over to the customer's account, all to the books."""

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from moneyed import Money

from apps.core.failpoints import failpoint
from apps.core.ids import new_id
from apps.invoicing.domain import COLLECTABLE, DocumentKind, InvoiceStatus
from apps.invoicing.models import Invoice
from apps.invoicing.operations.payments_received import record_payment
from apps.ledger.domain import Amount, Fact, FactKind, entry_for
from apps.ledger.operations import post_all
from apps.payments.domain import split_receipt
from apps.payments.models import Allocation, Payment
from apps.payments.operations.timetable import close_collection
from apps.payments.queries import money_on_account

TAKES_MONEY = COLLECTABLE | {InvoiceStatus.WRITTEN_OFF}


def book_receipt(payment: Payment, invoice: Invoice, *, actor: str, at: datetime) -> None:
    """Allocate a payment that has just succeeded, and post it; the caller holds the invoice's lock.

    An invoice that takes no money any more, because it was paid otherwise or canceled, leaves all
    of it on the customer's account.
    """
    takes = invoice.kind == DocumentKind.INVOICE and invoice.status in TAKES_MONEY
    still_open = invoice.open_amount.amount if takes else Decimal(0)
    allocated, unapplied = split_receipt(payment.amount.amount, still_open)
    if allocated:
        _allocate(payment.id, invoice, Money(allocated, payment.currency), actor=actor, at=at)
        failpoint("payments.book.after_allocation")
    fact = Fact(
        kind=FactKind.PAYMENT_SETTLED,
        tenant_id=payment.tenant_id,
        source_key=payment.public_id,
        effective_at=payment.settled_at or at,
        currency=payment.currency,
        customer_id=payment.customer_id,
        amounts={
            Amount.RECEIVED: payment.amount.amount,
            Amount.ALLOCATED: allocated,
            Amount.UNAPPLIED: unapplied,
        },
        provider=payment.provider,
    )
    post_all([entry_for(fact)], at=at)
    if allocated == still_open:
        close_collection(invoice, at=at)


def use_money_on_account(invoice: Invoice, *, actor: str, at: datetime) -> Money:
    """Pay the invoice from what the customer paid too much before; return what is still due.

    The oldest money goes first. The caller holds the locks of the customer and the invoice.
    """
    due = invoice.amount_due
    for source in money_on_account(
        invoice.customer_id, invoice.currency, tenant_id=invoice.tenant_id
    ):
        if not due.amount:
            break
        used = min(Money(source.left, invoice.currency), due)
        allocation = _allocate(source.payment_id, invoice, used, actor=actor, at=at)
        fact = Fact(
            kind=FactKind.BALANCE_APPLIED,
            tenant_id=invoice.tenant_id,
            source_key=allocation.public_id,
            effective_at=at,
            currency=invoice.currency,
            customer_id=invoice.customer_id,
            amounts={Amount.MOVED: used.amount},
        )
        post_all([entry_for(fact)], at=at)
        due -= used
    if not due.amount:
        close_collection(invoice, at=at)
    return due


def _allocate(
    payment_id: UUID, invoice: Invoice, amount: Money, *, actor: str, at: datetime
) -> Allocation:
    record_payment(invoice.id, amount, tenant_id=invoice.tenant_id, actor=actor, at=at)
    return Allocation.objects.create(
        id=new_id(),
        tenant_id=invoice.tenant_id,
        payment_id=payment_id,
        invoice=invoice,
        amount=amount.amount,
        currency=invoice.currency,
        allocated_at=at,
    )
