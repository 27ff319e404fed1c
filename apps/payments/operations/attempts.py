"""Charging an invoice in three steps: begin (committed) → call the provider → take the outcome.

Whatever dies on the way leaves a payment in flight, which nobody else can charge beside and which
``resolving`` asks the provider about. Nothing here calls a provider inside a transaction.
"""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from moneyed import Money

from apps.core.errors import NotFound
from apps.core.failpoints import failpoint
from apps.core.ids import encode
from apps.core.locks import lock_row
from apps.core.states import move
from apps.customers.models import Customer
from apps.invoicing.domain import (
    COLLECTABLE,
    DocumentKind,
    NotAnInvoice,
    NotCollectable,
    amount_text,
    refuse_amount,
)
from apps.invoicing.models import Invoice
from apps.payments.domain import (
    PAYMENT_TRANSITIONS,
    AmountExceedsDue,
    MethodNotChargeable,
    MethodUnusable,
    NoPaymentMethod,
    PaymentInProgress,
    PaymentStatus,
    next_question,
)
from apps.payments.models import Payment, PaymentMethod
from apps.payments.operations.outcomes import apply_outcome
from apps.payments.providers import provider_named
from apps.payments.providers.interface import ChargeRequest
from apps.payments.queries import default_method, payment_in_flight
from apps.tenants.models import Tenant


def charge_invoice(
    invoice_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- the id that the payment gets
    method_id: UUID | None = None,
    amount: Money | None = None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> Payment:
    """Charge an invoice now, and return the payment as it then stands, also if it failed.

    ``method_id`` None charges the customer's default method, ``amount`` None all that is due.
    With the id of a payment that exists, that one is continued if its provider may never have
    been called (by the same idempotency key, so never twice), and otherwise returned. Raises as
    ``begin_payment``.
    """
    payment = begin_payment(
        invoice_id,
        id=id,
        method_id=method_id,
        amount=amount,
        tenant_id=tenant_id,
        actor=actor,
        at=at,
    )
    if payment.status != PaymentStatus.SENT:
        return payment
    return carry_out(payment, actor=actor, at=at)


@transaction.atomic(durable=True)
def begin_payment(
    invoice_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- the id that the payment gets
    method_id: UUID | None = None,
    amount: Money | None = None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> Payment:
    """Commit the intent to charge the invoice, with the key that every call will carry.

    A payment with this id is returned as it is. Raises ``NotFound``, ``NotAnInvoice``,
    ``NotCollectable``, ``PaymentInProgress`` while the outcome of another payment of the invoice
    is open, ``NoPaymentMethod``, ``MethodUnusable``, ``MethodNotChargeable``, and for the amount
    ``PaymentCurrency``, ``PaymentNotPositive``, ``AmountTooFine`` and ``AmountExceedsDue``.
    """
    invoice = lock_row(Invoice, invoice_id, tenant_id=tenant_id)
    known = Payment.objects.filter(id=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    refuse_unless_asked_for(invoice)
    other = payment_in_flight(invoice.id)
    if other is not None:
        raise PaymentInProgress(
            f"{other.public_id} of {invoice} is {other.status}; its outcome decides."
        )
    asked = _amount(invoice, amount)
    method = _method(invoice, method_id, at)
    return place_attempt(invoice, method, asked, id=id, automatic=False, actor=actor, at=at)


def refuse_unless_asked_for(invoice: Invoice) -> None:
    """Raise ``NotAnInvoice`` or ``NotCollectable`` for a document that asks for no money now."""
    if invoice.kind != DocumentKind.INVOICE:
        raise NotAnInvoice(f"{invoice} is a credit memo; it cannot be paid.")
    if invoice.status not in COLLECTABLE or not invoice.amount_due.amount:
        raise NotCollectable(f"{invoice} is {invoice.status}; there is nothing to collect.")


def place_attempt(
    invoice: Invoice,
    method: PaymentMethod,
    amount: Money,
    *,
    id: UUID,  # noqa: A002 -- the id that the payment gets
    automatic: bool,
    actor: str,
    at: datetime,
) -> Payment:
    """Write a payment that is about to be sent; the caller holds the invoice's lock.

    Its outcome will be asked for, should nobody come back with it.
    """
    payment = Payment.objects.create(
        id=id,
        tenant_id=invoice.tenant_id,
        customer_id=invoice.customer_id,
        invoice=invoice,
        method=method,
        provider=method.provider,
        automatic=automatic,
        currency=invoice.currency,
        amount=amount.amount,
        idempotency_key=encode(Payment.ID_PREFIX, id),
        created_at=at,
    )
    failpoint("payments.begin.after_create")
    payment.sent_at, payment.ask_after = at, next_question(0, at)
    move(
        payment,
        to=PaymentStatus.SENT,
        allowed=PAYMENT_TRANSITIONS,
        actor=actor,
        at=at,
        also=("sent_at", "ask_after"),
        invoice=invoice.public_id,
        amount=amount_text(amount),
        currency=invoice.currency,
        provider=method.provider,
    )
    return payment


def carry_out(payment: Payment, *, actor: str, at: datetime) -> Payment:
    """Call the provider for a payment that was begun, and take what it says."""
    failpoint("payments.call.before")
    outcome = provider_named(payment.provider).charge(_request(payment))
    failpoint("payments.call.after")
    return apply_outcome(payment.id, outcome, tenant_id=payment.tenant_id, actor=actor, at=at)


def _request(payment: Payment) -> ChargeRequest:
    method = PaymentMethod.objects.get(payments=payment)
    invoice = Invoice.objects.get(id=payment.invoice_id)
    customer = Customer.objects.get(id=payment.customer_id)
    same_provider = customer.payment_provider == payment.provider
    return ChargeRequest(
        amount=payment.amount,
        idempotency_key=payment.idempotency_key,
        method_ref=method.provider_ref,
        customer_ref=customer.payment_provider_customer_id if same_provider else "",
        description=f"Invoice {invoice.display_number}",
        metadata={
            "tenant": encode(Tenant.ID_PREFIX, payment.tenant_id),
            "customer": customer.public_id,
            "invoice": invoice.public_id,
            "payment": payment.public_id,
        },
    )


def _amount(invoice: Invoice, amount: Money | None) -> Money:
    due = invoice.amount_due
    if amount is None:
        return due
    refuse_amount(amount, document=str(invoice), currency=invoice.currency)
    if amount > due:
        raise AmountExceedsDue(
            f"{amount_text(amount)} {invoice.currency} is more than is due of {invoice}:"
            f" {amount_text(due)}.",
            field="amount",
        )
    return amount


def _method(invoice: Invoice, method_id: UUID | None, at: datetime) -> PaymentMethod:
    if method_id is None:
        method = default_method(invoice.customer_id, tenant_id=invoice.tenant_id)
        if method is None:
            raise NoPaymentMethod(
                "The customer has no default payment method; name one, or set a default."
            )
    else:
        method = usable_method(method_id, invoice)
    if method.is_expired(at):
        raise MethodUnusable(f"It expired with {method.expires}.", field="payment_method")
    if not provider_named(method.provider).collects:
        raise MethodNotChargeable(
            f"Money by {method.provider} arrives by itself; record it by POST …/pay.",
            field="payment_method",
        )
    return method


def usable_method(method_id: UUID, invoice: Invoice) -> PaymentMethod:
    """Return the method; ``NotFound`` if the tenant has none, ``MethodUnusable`` if not for this."""
    method = PaymentMethod.objects.filter(id=method_id, tenant_id=invoice.tenant_id).first()
    if method is None:
        raise NotFound("There is no such payment method.", field="payment_method")
    if method.customer_id != invoice.customer_id:
        raise MethodUnusable("It is another customer's.", field="payment_method")
    if method.detached_at is not None:
        raise MethodUnusable("It was detached.", field="payment_method")
    return method
