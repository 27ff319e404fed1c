"""Taking an invoice and its customer in hand, and what is refused of an amount for it."""

from uuid import UUID

from moneyed import Money

from apps.core.errors import NotFound
from apps.core.locks import lock_row
from apps.core.money import AmountTooFine, fits
from apps.customers.models import Customer
from apps.invoicing.domain import PaymentCurrency, PaymentNotPositive
from apps.invoicing.models import Invoice


def lock_with_customer(invoice_id: UUID, *, tenant_id: UUID) -> Invoice:
    """Lock the invoice's customer, then the invoice, and return it; ``NotFound`` if absent.

    The customer's lock guards what spans invoices: money on account, references.
    """
    known = Invoice.objects.filter(id=invoice_id, tenant_id=tenant_id)
    customer_id = known.values_list("customer_id", flat=True).first()
    if customer_id is None:
        raise NotFound("There is no such invoice.")
    lock_row(Customer, customer_id, tenant_id=tenant_id)
    return lock_row(Invoice, invoice_id, tenant_id=tenant_id)


def refuse_amount(invoice: Invoice, amount: Money) -> None:
    """Raise ``PaymentCurrency``, ``PaymentNotPositive`` or ``AmountTooFine`` if it cannot be paid."""
    if amount.currency.code != invoice.currency:
        raise PaymentCurrency(
            f"{invoice} is in {invoice.currency}, not in {amount.currency.code}.", field="currency"
        )
    if not amount.amount > 0:
        raise PaymentNotPositive("A payment is more than zero.", field="amount")
    if not fits(amount.amount, invoice.currency):
        raise AmountTooFine(
            f"{amount.amount} has more decimals than {invoice.currency}.", field="amount"
        )
