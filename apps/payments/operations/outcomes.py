"""What becomes of a payment, by whichever way we learn of it: each safe to tell any number of times.

The lock of the invoice guards all of its payments, so whatever is decided here is decided once.
"""

from datetime import datetime
from uuid import UUID

from django.db import transaction
from moneyed import Money

from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.locks import lock_row
from apps.core.states import move
from apps.invoicing.models import Invoice
from apps.payments.domain import (
    IN_FLIGHT,
    PAYMENT_TRANSITIONS,
    FailureCode,
    OutcomeMismatch,
    PaymentStatus,
    next_question,
)
from apps.payments.models import Payment
from apps.payments.operations.booking import book_receipt
from apps.payments.operations.timetable import note_failure
from apps.payments.providers.interface import Outcome, OutcomeStatus


def apply_outcome(
    payment_id: UUID, outcome: Outcome, *, tenant_id: UUID, actor: str, at: datetime
) -> Payment:
    """Take what a provider says of a charge, and return the payment as it then stands.

    Success of another amount than was asked, or under another's name, is not applied: the payment
    is held, in flight, until a person decides. Raises ``NotFound``.
    """
    code = outcome.failure_code.value if outcome.failure_code else ""
    match outcome.status:
        case OutcomeStatus.SUCCEEDED:
            try:
                return settle_payment(
                    payment_id,
                    received=outcome.amount,
                    provider_ref=outcome.provider_ref,
                    tenant_id=tenant_id,
                    actor=actor,
                    at=at,
                )
            except OutcomeMismatch as error:
                return hold_payment(
                    payment_id, reason=error.detail, tenant_id=tenant_id, actor=actor, at=at
                )
        case OutcomeStatus.FAILED:
            return fail_payment(
                payment_id,
                code=code,
                message=outcome.failure_message,
                provider_ref=outcome.provider_ref,
                tenant_id=tenant_id,
                actor=actor,
                at=at,
            )
        case OutcomeStatus.PENDING:
            return mark_pending(
                payment_id,
                provider_ref=outcome.provider_ref,
                tenant_id=tenant_id,
                actor=actor,
                at=at,
            )
        case OutcomeStatus.UNKNOWN:
            return mark_unknown(
                payment_id,
                code=code,
                message=outcome.failure_message,
                tenant_id=tenant_id,
                actor=actor,
                at=at,
            )


@transaction.atomic
def settle_payment(
    payment_id: UUID,
    *,
    received: Money | None,
    provider_ref: str | None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> Payment:
    """Book money that a provider took: the invoice counts it as paid, and the books have it.

    What is more than the invoice still asks for is the customer's, and pays his next invoices. A
    payment that succeeded is returned as it is; one that had failed succeeds after all. Raises
    ``NotFound``, and ``OutcomeMismatch`` for another amount or currency than was asked, for none,
    or if the charge is known by another name.
    """
    invoice, payment = _lock(payment_id, tenant_id)
    if payment.status == PaymentStatus.SUCCEEDED:
        return payment
    if received != payment.amount:
        raise OutcomeMismatch(
            f"{payment.public_id} asked for {payment.amount}; the provider took {received}."
        )
    if provider_ref is not None and _named_otherwise(payment, provider_ref):
        raise OutcomeMismatch(
            f"{payment.public_id} is not the charge {provider_ref} of {payment.provider}."
        )
    payment.provider_ref = provider_ref or payment.provider_ref
    payment.settled_at = at
    payment.failure_code, payment.failure_message, payment.ask_after = "", "", None
    move(
        payment,
        to=PaymentStatus.SUCCEEDED,
        allowed=PAYMENT_TRANSITIONS,
        actor=actor,
        at=at,
        also=("provider_ref", "settled_at", "failure_code", "failure_message", "ask_after"),
        invoice=invoice.public_id,
    )
    failpoint("payments.settle.after_move")
    book_receipt(payment, invoice, actor=actor, at=at)
    failpoint("payments.settle.after_booking")
    return payment


@transaction.atomic
def fail_payment(
    payment_id: UUID,
    *,
    code: str,
    message: str,
    provider_ref: str | None = None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> Payment:
    """Note that no money was taken; an automatic attempt is tried again by its timetable.

    Changes nothing of a payment whose outcome is not open any more: a failure told after the
    success is old news. Raises ``NotFound``.
    """
    invoice, payment = _lock(payment_id, tenant_id)
    if payment.status not in IN_FLIGHT:
        return payment
    payment.provider_ref = payment.provider_ref or _unclaimed(payment, provider_ref)
    payment.failure_code, payment.failure_message = code, message[:500]
    payment.ask_after = None
    move(
        payment,
        to=PaymentStatus.FAILED,
        allowed=PAYMENT_TRANSITIONS,
        actor=actor,
        at=at,
        also=("provider_ref", "failure_code", "failure_message", "ask_after"),
        invoice=invoice.public_id,
        code=code,
    )
    failpoint("payments.fail.after_move")
    if invoice.sells_credit:
        record("invoice.uncollected", invoice, actor=actor, at=at, reason=message or code)
    if payment.automatic:
        note_failure(invoice, message or code, at=at)
    return payment


@transaction.atomic
def mark_pending(
    payment_id: UUID, *, provider_ref: str | None, tenant_id: UUID, actor: str, at: datetime
) -> Payment:
    """Note that the provider has the charge and will know later; it stays in flight.

    Changes nothing of a payment that is pending or decided. Raises ``NotFound``.
    """
    _, payment = _lock(payment_id, tenant_id)
    if payment.status not in {PaymentStatus.SENT, PaymentStatus.UNKNOWN}:
        return payment
    payment.provider_ref = payment.provider_ref or _unclaimed(payment, provider_ref)
    payment.failure_code, payment.failure_message = "", ""
    payment.ask_after = next_question(payment.asked, at)
    move(
        payment,
        to=PaymentStatus.PENDING,
        allowed=PAYMENT_TRANSITIONS,
        actor=actor,
        at=at,
        also=("provider_ref", "failure_code", "failure_message", "ask_after"),
    )
    return payment


@transaction.atomic
def mark_unknown(
    payment_id: UUID, *, code: str, message: str, tenant_id: UUID, actor: str, at: datetime
) -> Payment:
    """Note that nobody can tell yet whether money was taken; it stays in flight.

    Changes nothing of a payment that is known to be pending, unknown already, or decided. Raises
    ``NotFound``.
    """
    _, payment = _lock(payment_id, tenant_id)
    if payment.status != PaymentStatus.SENT:
        return payment
    payment.failure_code, payment.failure_message = code, message[:500]
    payment.ask_after = next_question(payment.asked, at)
    move(
        payment,
        to=PaymentStatus.UNKNOWN,
        allowed=PAYMENT_TRANSITIONS,
        actor=actor,
        at=at,
        also=("failure_code", "failure_message", "ask_after"),
        code=code,
    )
    return payment


@transaction.atomic
def hold_payment(
    payment_id: UUID, *, reason: str, tenant_id: UUID, actor: str, at: datetime
) -> Payment:
    """Leave a payment for a person to decide: nobody is asked, and nothing is charged beside it.

    Ends when it is settled or failed. Holding it again changes nothing. Raises ``NotFound``.
    """
    _, payment = _lock(payment_id, tenant_id)
    code = FailureCode.OUTCOME_MISMATCH.value
    if payment.status == PaymentStatus.SUCCEEDED or payment.failure_code == code:
        return payment
    payment.failure_code, payment.failure_message, payment.ask_after = code, reason[:500], None
    changed = ("failure_code", "failure_message", "ask_after")
    if payment.status == PaymentStatus.SENT:
        move(
            payment,
            to=PaymentStatus.UNKNOWN,
            allowed=PAYMENT_TRANSITIONS,
            actor=actor,
            at=at,
            also=changed,
            code=code,
        )
    else:
        payment.save(update_fields=changed)
    record("payment.held", payment, actor=actor, at=at, reason=reason)
    return payment


def _lock(payment_id: UUID, tenant_id: UUID) -> tuple[Invoice, Payment]:
    """Lock the payment's invoice, and return both as they now are."""
    found = Payment.objects.filter(id=payment_id, tenant_id=tenant_id)
    invoice_id = found.values_list("invoice_id", flat=True).first()
    if invoice_id is None:
        raise NotFound("There is no such payment.")
    invoice = lock_row(Invoice, invoice_id, tenant_id=tenant_id)
    return invoice, found.get()


def _named_otherwise(payment: Payment, provider_ref: str) -> bool:
    known = payment.provider_ref
    return (known is not None and known != provider_ref) or (
        _unclaimed(payment, provider_ref) is None
    )


def _unclaimed(payment: Payment, provider_ref: str | None) -> str | None:
    """Return the provider's name of the charge, unless another payment has it."""
    others = Payment.objects.filter(
        tenant_id=payment.tenant_id, provider=payment.provider, provider_ref=provider_ref
    ).exclude(id=payment.id)
    return None if provider_ref is None or others.exists() else provider_ref
