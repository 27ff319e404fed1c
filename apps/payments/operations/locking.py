"""Taking an invoice and its customer in hand."""

from uuid import UUID

from apps.core.errors import NotFound
from apps.core.locks import lock_row
from apps.customers.models import Customer
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
