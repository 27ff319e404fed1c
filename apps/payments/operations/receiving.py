"""Money that arrived by itself."""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from moneyed import Money

from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.ids import encode
from apps.invoicing.domain import (
    DocumentKind,
    NotAnInvoice,
    NotCollectable,
    amount_text,
    refuse_amount,
)
from apps.invoicing.models import Invoice
from apps.payments.domain import (
    MethodUnusable,
    PaymentStatus,
    ReceivedBeforeIssue,
    ReceivedInFuture,
    ReferenceUsed,
)
from apps.payments.models import Payment
from apps.payments.operations.attempts import usable_method
from apps.payments.operations.booking import TAKES_MONEY, book_receipt
from apps.payments.operations.locking import lock_with_customer
from apps.payments.providers import provider_named
from apps.payments.providers.external import External


@transaction.atomic
def record_external_payment(
    invoice_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- the id that the payment gets
    amount: Money | None = None,
    reference: str | None = None,
    received_at: datetime | None = None,
    method_id: UUID | None = None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> Payment:
    """Record money that came for an invoice by itself, such as a bank transfer.

    ``amount`` None is all that is open; more than that is allowed, and what is over stays on the
    customer's account. ``reference`` is the bank's or the caller's name of it, one per customer.
    It is recorded also while a charge of the invoice is under way: it has arrived. A payment
    with this id is returned as it is. Raises ``NotFound``, ``NotAnInvoice``, ``NotCollectable``
    for a draft and for what is paid or canceled, ``ReferenceUsed``, ``ReceivedInFuture``,
    ``ReceivedBeforeIssue``, ``MethodUnusable``, ``PaymentCurrency``, ``PaymentNotPositive`` and
    ``AmountTooFine``.
    """
    invoice = lock_with_customer(invoice_id, tenant_id=tenant_id)
    known = Payment.objects.filter(id=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    arrived = received_at or at
    _check(invoice, amount, arrived, at)
    if method_id is not None:
        method = usable_method(method_id, invoice)
        if provider_named(method.provider).collects:
            raise MethodUnusable(f"{method.provider} collects by itself.", field="payment_method")
    if reference is not None and _is_used(reference, invoice):
        raise ReferenceUsed(f"Money with the reference {reference!r} has been recorded.")
    payment = Payment.objects.create(
        id=id,
        status=PaymentStatus.SUCCEEDED,
        tenant_id=tenant_id,
        customer_id=invoice.customer_id,
        invoice=invoice,
        method_id=method_id,
        provider=External.name,
        currency=invoice.currency,
        amount=(amount or invoice.open_amount).amount,
        idempotency_key=encode(Payment.ID_PREFIX, id),
        reference=reference,
        created_at=at,
        settled_at=arrived,
    )
    failpoint("payments.receive.after_create")
    record(
        "payment.succeeded",
        payment,
        actor=actor,
        at=at,
        invoice=invoice.public_id,
        amount=amount_text(payment.amount),
        currency=invoice.currency,
        provider=External.name,
    )
    book_receipt(payment, invoice, actor=actor, at=at)
    return payment


def _check(invoice: Invoice, amount: Money | None, arrived: datetime, at: datetime) -> None:
    if invoice.kind != DocumentKind.INVOICE:
        raise NotAnInvoice(f"{invoice} is a credit memo; it cannot be paid.")
    if invoice.status not in TAKES_MONEY or not invoice.open_amount.amount:
        raise NotCollectable(f"{invoice} is {invoice.status}; nothing can be paid of it.")
    if arrived > at:
        raise ReceivedInFuture(f"{arrived.isoformat()} is yet to come.", field="received_at")
    if invoice.issued_at is not None and arrived < invoice.issued_at:
        raise ReceivedBeforeIssue(
            f"{invoice} was issued at {invoice.issued_at.isoformat()}.", field="received_at"
        )
    if amount is not None:
        refuse_amount(amount, document=str(invoice), currency=invoice.currency)


def _is_used(reference: str, invoice: Invoice) -> bool:
    return Payment.objects.filter(
        tenant_id=invoice.tenant_id, customer_id=invoice.customer_id, reference=reference
    ).exists()
