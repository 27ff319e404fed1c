"""Paying an invoice on request, whichever way its money comes."""

from datetime import datetime
from uuid import UUID

from moneyed import Money

from apps.invoicing.models import Invoice
from apps.payments.models import Payment, PaymentMethod
from apps.payments.operations.attempts import charge_invoice
from apps.payments.operations.receiving import record_external_payment
from apps.payments.providers import provider_named
from apps.payments.queries import default_method


def pay_invoice(
    invoice: Invoice,
    *,
    id: UUID,  # noqa: A002 -- the id that the payment gets
    method_id: UUID | None = None,
    amount: Money | None = None,
    reference: str | None = None,
    received_at: datetime | None = None,
    actor: str,
    at: datetime,
) -> Payment:
    """Charge the named method or the default one, or record money that came by itself.

    Money came by itself if a reference or the time of its arrival is given, or if the method is
    of a provider that cannot collect. Returns the payment as it then stands, also if it failed.
    A repeat with the same id pays nothing twice. Raises as ``charge_invoice`` and
    ``record_external_payment``.
    """
    if method_id is None:
        method = default_method(invoice.customer_id, tenant_id=invoice.tenant_id)
    else:
        method = PaymentMethod.objects.filter(id=method_id, tenant_id=invoice.tenant_id).first()
    arrived = reference is not None or received_at is not None
    if arrived or (method is not None and not provider_named(method.provider).collects):
        return record_external_payment(
            invoice.id,
            id=id,
            method_id=method_id if arrived or method is None else method.id,
            amount=amount,
            reference=reference,
            received_at=received_at,
            tenant_id=invoice.tenant_id,
            actor=actor,
            at=at,
        )
    return charge_invoice(
        invoice.id,
        id=id,
        method_id=method_id,
        amount=amount,
        tenant_id=invoice.tenant_id,
        actor=actor,
        at=at,
    )
