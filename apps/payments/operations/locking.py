"""Taking an invoice, or a payment, and its customer in hand."""

from uuid import UUID

from apps.core.errors import NotFound
from apps.core.locks import lock_row
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.payments.models import Payment
from apps.payments.queries import payments_of


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


def lock_payer(payment_id: UUID, *, tenant_id: UUID) -> Payment:
    """Lock the payment's customer, and return the payment as it then is; ``NotFound`` if absent.

    The customer's lock guards what he is owed, money on account and credit memos, and what of his
    payments goes back. The payment comes with what ``queries.payments_of`` tells of it.
    """
    found = payments_of(tenant_id).filter(id=payment_id)
    customer_id = found.values_list("customer_id", flat=True).first()
    if customer_id is None:
        raise NotFound("There is no such payment.")
    lock_row(Customer, customer_id, tenant_id=tenant_id)
    return found.get()
