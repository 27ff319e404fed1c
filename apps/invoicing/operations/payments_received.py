"""Money that was received for an invoice."""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from moneyed import Money

from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.locks import lock_row
from apps.core.states import move
from apps.invoicing.covering import tell_of_credit_sold
from apps.invoicing.domain import (
    COLLECTABLE,
    INVOICE_TRANSITIONS,
    DocumentKind,
    InvoiceStatus,
    NotAnInvoice,
    NotCollectable,
    PaymentExceedsDue,
    amount_text,
    refuse_amount,
)
from apps.invoicing.models import Invoice
from apps.invoicing.operations.closing import write_off_key
from apps.ledger.domain import FactKind
from apps.ledger.operations import reverse_entry


@transaction.atomic
def record_payment(
    invoice_id: UUID, amount: Money, *, tenant_id: UUID, actor: str, at: datetime
) -> Money:
    """Count ``amount`` as paid of the invoice, and return it.

    Paid in full, the invoice becomes paid; else partially paid, or stays overdue. One that was
    written off is reinstated first: the bad debt is taken back whole. The caller posts the money
    itself, and calls this once per payment and invoice, in the same transaction: a repeat counts
    again. Raises ``NotFound``, ``NotAnInvoice``, ``PaymentCurrency``, ``PaymentNotPositive``,
    ``AmountTooFine``, ``NotCollectable`` for a draft and for what is paid or canceled, and
    ``PaymentExceedsDue``.
    """
    invoice = lock_row(Invoice, invoice_id, tenant_id=tenant_id)
    _check(invoice, amount)
    if invoice.status == InvoiceStatus.WRITTEN_OFF:
        reverse_entry(
            FactKind.INVOICE_REINSTATED,
            write_off_key(invoice),
            tenant_id=tenant_id,
            effective_at=at,
            at=at,
        )
    invoice.amount_paid += amount
    told = {"amount": amount_text(amount), "currency": invoice.currency}
    record("invoice.payment_received", invoice, actor=actor, at=at, **told)
    failpoint("invoicing.payment.after_record")
    to = _status_after(invoice)
    if to == invoice.status:
        invoice.save(update_fields=["amount_paid"])
        return amount
    invoice.closed_at = at if to == InvoiceStatus.PAID else None
    move(
        invoice,
        to=to,
        allowed=INVOICE_TRANSITIONS,
        actor=actor,
        at=at,
        also=("amount_paid", "closed_at"),
    )
    if to == InvoiceStatus.PAID and invoice.sells_credit:
        tell_of_credit_sold([invoice.id], tenant_id=tenant_id, actor=actor, at=at)
    return amount


def _check(invoice: Invoice, amount: Money) -> None:
    if invoice.kind != DocumentKind.INVOICE:
        raise NotAnInvoice(f"{invoice} is a credit memo; it cannot be paid.")
    refuse_amount(amount, document=str(invoice), currency=invoice.currency)
    if invoice.status not in COLLECTABLE | {InvoiceStatus.WRITTEN_OFF}:
        raise NotCollectable(f"{invoice} is {invoice.status}; nothing can be paid of it.")
    if amount > invoice.open_amount:
        raise PaymentExceedsDue(
            f"{amount_text(amount)} {invoice.currency} is more than is open of {invoice}:"
            f" {amount_text(invoice.open_amount)}."
        )


def _status_after(invoice: Invoice) -> InvoiceStatus:
    if not invoice.open_amount.amount:
        return InvoiceStatus.PAID
    if invoice.status == InvoiceStatus.OVERDUE:
        return InvoiceStatus.OVERDUE
    return InvoiceStatus.PARTIALLY_PAID
