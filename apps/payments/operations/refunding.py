"""Paying money back in three steps, as money is charged: begin (committed) → call → take the outcome.

What is paid back is always owed to the customer: what he paid too much, what credit memos have
left, or a credit memo that is made for it. It is taken when the refund begins, so that no invoice
uses it meanwhile, and given back if the refund fails.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID, uuid5

from django.db import transaction
from moneyed import Money

from apps.core.errors import NotFound
from apps.core.events import record
from apps.core.failpoints import failpoint
from apps.core.ids import encode
from apps.core.locks import lock_row
from apps.core.money import plain
from apps.customers.models import Customer
from apps.invoicing.domain import InvoiceStatus, amount_text, refuse_amount
from apps.invoicing.models import Invoice
from apps.invoicing.operations.giving_back import (
    credit_about,
    credit_invoices,
    credit_left,
    memo_named,
    pay_out_credit,
)
from apps.invoicing.queries import creditable, invoices_behind
from apps.payments.domain import (
    CreditUnpaid,
    NothingToRefund,
    PaidBackBeforePaid,
    PaidBackInFuture,
    PaymentNotRefundable,
    PaymentStatus,
    ReferenceUsed,
    RefundExceedsPaid,
    RefundStatus,
    next_question,
)
from apps.payments.models import Allocation, Payment, PaymentMethod, Refund
from apps.payments.operations.locking import lock_payer
from apps.payments.operations.refund_outcomes import apply_refund_outcome, book_refund
from apps.payments.providers import provider_named
from apps.payments.providers.external import External
from apps.payments.providers.interface import RefundRequest
from apps.payments.queries import left_of, payments_of, unapplied_of
from apps.tenants.models import Tenant

_ZERO: Final = Decimal(0)
_MOST_PAYMENTS: Final = 50  # that one credit memo is paid back to


@dataclass(frozen=True, slots=True, kw_only=True)
class ByHand:
    """How money was paid back by a person: the bank's name of it, and when (None: now)."""

    reference: str | None = None
    paid_at: datetime | None = None


@dataclass(slots=True)
class Sources:
    """What a refund takes, in its currency."""

    from_account: Decimal = _ZERO
    memos: tuple[tuple[UUID, Decimal], ...] = ()
    invoices: tuple[tuple[UUID, Decimal], ...] = ()

    @property
    def total(self) -> Decimal:
        parts = (*self.memos, *self.invoices)
        return sum((amount for _, amount in parts), self.from_account)


def refund_payment(
    payment_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- the id that the refund gets
    amount: Money | None = None,
    memo_id: UUID | None = None,
    reason: str,
    by_hand: ByHand | None = None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> Refund:
    """Pay a payment back, or part of it, and return the refund as it then stands, also if it failed.

    With the id of a refund that exists, that one is continued if its provider may never have been
    called (by the same idempotency key, so never twice), and otherwise returned. Takes and raises
    as ``begin_refund``.
    """
    refund = begin_refund(
        payment_id,
        id=id,
        amount=amount,
        memo_id=memo_id,
        reason=reason,
        by_hand=by_hand,
        tenant_id=tenant_id,
        actor=actor,
        at=at,
    )
    return carry_out_refund(refund, actor=actor, at=at)


def refund_memo(
    memo_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- the id that the first refund gets
    payment_id: UUID | None = None,
    amount: Money | None = None,
    reason: str,
    by_hand: ByHand | None = None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> list[Refund]:
    """Pay back what a credit memo has left, to the payments that paid; return the refunds.

    Those that paid the invoices the memo is about come first, the newest before the older, then
    other payments of the customer. A repeat with the same id continues as ``refund_payment`` does.
    Raises as ``begin_memo_refunds``.
    """
    refunds = begin_memo_refunds(
        memo_id,
        id=id,
        payment_id=payment_id,
        amount=amount,
        reason=reason,
        by_hand=by_hand,
        tenant_id=tenant_id,
        actor=actor,
        at=at,
    )
    return [carry_out_refund(one, actor=actor, at=at) for one in refunds]


@transaction.atomic(durable=True)
def begin_refund(
    payment_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- the id that the refund gets
    amount: Money | None = None,
    memo_id: UUID | None = None,
    reason: str,
    by_hand: ByHand | None = None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> Refund:
    """Commit the intent to pay back ``amount`` of a payment (None: all that can be).

    It is taken from what the payment brought too much; then from what credit memos have left that
    are about the invoices it paid; for the rest those invoices are credited by memos made here.
    With ``memo_id`` only that credit memo pays. Prepaid credit that such an invoice sold is
    clawed back. Money of a provider that cannot pay back, or with ``by_hand``, was paid by a person:
    it is booked at once. A refund with this id is returned as it is. Raises ``NotFound``,
    ``PaymentNotRefundable``, ``NothingToRefund``, ``RefundExceedsPaid``, ``CreditUnpaid``,
    ``ReferenceUsed``, ``PaidBackInFuture``, ``PaidBackBeforePaid``, what ``refuse_amount`` raises,
    and of the memo ``NotACreditMemo`` and ``CreditExceedsLeft``.
    """
    payment = lock_payer(payment_id, tenant_id=tenant_id)
    known = Refund.objects.filter(id=id, tenant_id=tenant_id).first()
    if known is not None:
        return known
    _check(payment, by_hand, at)
    left = left_of(payment)
    if amount is not None:
        refuse_amount(amount, document=payment.public_id, currency=payment.currency)
        if amount.amount > left:
            raise RefundExceedsPaid(
                f"{amount_text(amount)} {payment.currency} is more than {payment.public_id} has"
                f" left: {plain(left)}.",
                field="amount",
            )
    wanted = left if amount is None else amount.amount
    if memo_id is None:
        sources = _sources(payment, wanted)
    else:
        memo = _memo_for(payment, memo_id)
        room = credit_left(memo)
        sources = Sources(memos=((memo_id, min(wanted, room)),)) if room else Sources()
    if not sources.total:
        raise NothingToRefund(f"Nothing of {payment.public_id} can be paid back.")
    if amount is not None and sources.total < wanted:
        raise RefundExceedsPaid(
            f"Only {plain(sources.total)} {payment.currency} of {payment.public_id} can be paid"
            " back: credit memos have given the rest already.",
            field="amount",
        )
    return place_refund(payment, sources, id=id, reason=reason, by_hand=by_hand, actor=actor, at=at)


@transaction.atomic(durable=True)
def begin_memo_refunds(
    memo_id: UUID,
    *,
    id: UUID,  # noqa: A002 -- the id that the first refund gets
    payment_id: UUID | None = None,
    amount: Money | None = None,
    reason: str,
    by_hand: ByHand | None = None,
    tenant_id: UUID,
    actor: str,
    at: datetime,
) -> list[Refund]:
    """Commit the intent to pay back ``amount`` of what a credit memo has left (None: all that can be).

    Without ``payment_id`` the money goes to as many payments as it takes. Refunds begun with this
    id are returned as they are. Raises as ``begin_refund``; ``NothingToRefund`` also where no
    payment of the customer has anything left.
    """
    memo = memo_named(memo_id, tenant_id=tenant_id)
    lock_row(Customer, memo.customer_id, tenant_id=tenant_id)
    ids = [id, *(uuid5(id, str(number)) for number in range(1, _MOST_PAYMENTS))]
    known = list(Refund.objects.filter(id__in=ids, tenant_id=tenant_id).order_by("created_at"))
    if known:
        return sorted(known, key=lambda one: ids.index(one.id))
    left = credit_left(memo)
    if amount is not None:
        refuse_amount(amount, document=str(memo), currency=memo.currency)
    wanted = left if amount is None else amount.amount
    payments = _payments_for(memo, payment_id)
    parts, rest = [], min(wanted, left)
    for payment in payments[:_MOST_PAYMENTS]:
        part = min(left_of(payment), rest)
        if part > 0:
            _check(payment, by_hand, at)
            parts.append((payment, part))
            rest -= part
    if not parts:
        raise NothingToRefund(f"{memo} has nothing left, or no payment that it could go back to.")
    if amount is not None and (rest or wanted > left):
        raise RefundExceedsPaid(
            f"Only {plain(sum((part for _, part in parts), _ZERO))} {memo.currency} of {memo} can"
            " be paid back.",
            field="amount",
        )
    return [
        place_refund(
            payment,
            Sources(memos=((memo.id, part),)),
            id=one,
            reason=reason,
            by_hand=by_hand,
            actor=actor,
            at=at,
        )
        for one, (payment, part) in zip(ids, parts, strict=False)
    ]


def carry_out_refund(refund: Refund, *, actor: str, at: datetime) -> Refund:
    """Call the provider for a refund that was begun, and take what it says.

    One that its provider has acknowledged, or that is decided, is returned as it is.
    """
    if refund.status != RefundStatus.PENDING or refund.provider_ref is not None:
        return refund
    failpoint("payments.refund.before_call")
    outcome = provider_named(refund.provider).refund(_request(refund))
    failpoint("payments.refund.after_call")
    return apply_refund_outcome(refund.id, outcome, tenant_id=refund.tenant_id, actor=actor, at=at)


def place_refund(
    payment: Payment,
    sources: Sources,
    *,
    id: UUID,  # noqa: A002 -- the id that the refund gets
    reason: str,
    by_hand: ByHand | None,
    actor: str,
    at: datetime,
) -> Refund:
    """Take the money from its sources and write the refund; the caller holds the customer's lock."""
    told: dict[str, Any] = {"tenant_id": payment.tenant_id, "actor": actor, "at": at}
    for memo_id, part in sources.memos:
        pay_out_credit(memo_id, Money(part, payment.currency), refund_id=id, **told)
    if sources.invoices:
        for memo in credit_invoices(dict(sources.invoices), request_id=id, reason=reason, **told):
            pay_out_credit(memo.id, -memo.total, refund_id=id, **told)
    failpoint("payments.refund.after_credit")
    hand = by_hand or (None if provider_named(payment.provider).collects else ByHand())
    refund = Refund.objects.create(
        id=id,
        tenant_id=payment.tenant_id,
        customer_id=payment.customer_id,
        payment=payment,
        status=RefundStatus.SUCCEEDED if hand else RefundStatus.PENDING,
        provider=External.name if hand else payment.provider,
        currency=payment.currency,
        amount=sources.total,
        from_account=sources.from_account,
        reason=reason,
        idempotency_key=encode(Refund.ID_PREFIX, id),
        reference=hand.reference if hand else None,
        created_at=at,
        settled_at=(hand.paid_at or at) if hand else None,
        ask_after=None if hand else next_question(0, at),
    )
    failpoint("payments.refund.after_create")
    record(
        f"refund.{refund.status}",
        refund,
        actor=actor,
        at=at,
        payment=payment.public_id,
        amount=amount_text(refund.amount),
        currency=refund.currency,
        provider=refund.provider,
        reason=reason,
    )
    if hand:
        book_refund(refund, at=at)
    return refund


def _sources(payment: Payment, wanted: Decimal) -> Sources:
    """Find what is owed of a payment, and what must be credited for the rest, up to ``wanted``."""
    found = Sources(from_account=min(wanted, max(unapplied_of(payment), _ZERO)))
    rest = wanted - found.from_account
    paid = list(
        Allocation.objects.filter(payment=payment)
        .select_related("invoice")
        .order_by("-allocated_at", "-id")
    )
    owed = credit_about(
        [one.invoice_id for one in paid],
        payment.customer_id,
        payment.currency,
        tenant_id=payment.tenant_id,
    )
    memos = []
    for memo in owed:
        part = min(memo.left, rest)
        if part > 0:
            memos.append((memo.memo_id, part))
            rest -= part
    room = creditable([one.invoice for one in paid])
    invoices = []
    for allocation in paid:
        part = min(room[allocation.invoice_id], allocation.amount, rest)
        if part > 0:
            _refuse_unpaid_credit(allocation.invoice)
            invoices.append((allocation.invoice_id, part))
            rest -= part
    found.memos, found.invoices = tuple(memos), tuple(invoices)
    return found


def _refuse_unpaid_credit(invoice: Invoice) -> None:
    if invoice.sells_credit and invoice.status != InvoiceStatus.PAID:
        raise CreditUnpaid(
            f"{invoice} sells credit and is {invoice.status}: its credit was never given."
        )


def _check(payment: Payment, by_hand: ByHand | None, at: datetime) -> None:
    if payment.status != PaymentStatus.SUCCEEDED:
        raise PaymentNotRefundable(
            f"{payment.public_id} is {payment.status}; only money that came in can go back."
        )
    if by_hand is None:
        return
    if by_hand.paid_at is not None and by_hand.paid_at > at:
        raise PaidBackInFuture(f"{by_hand.paid_at.isoformat()} is yet to come.", field="paid_at")
    if by_hand.paid_at is not None and (payment.settled_at or at) > by_hand.paid_at:
        raise PaidBackBeforePaid(f"{payment.public_id} came in later.", field="paid_at")
    if (
        by_hand.reference is not None
        and Refund.objects.filter(
            tenant_id=payment.tenant_id,
            customer_id=payment.customer_id,
            reference=by_hand.reference,
        ).exists()
    ):
        raise ReferenceUsed(f"A refund with the reference {by_hand.reference!r} has been recorded.")


def _memo_for(payment: Payment, memo_id: UUID) -> Invoice:
    memo = memo_named(memo_id, tenant_id=payment.tenant_id)
    if (memo.customer_id, memo.currency) != (payment.customer_id, payment.currency):
        raise NotFound(
            "The customer has no such credit memo in this currency.", field="credit_memo"
        )
    return memo


def _payments_for(memo: Invoice, payment_id: UUID | None) -> Sequence[Payment]:
    """Return the payments that a memo can go back to, in their order."""
    found = payments_of(memo.tenant_id).filter(customer_id=memo.customer_id, currency=memo.currency)
    if payment_id is not None:
        named = list(found.filter(id=payment_id))
        if not named:
            raise NotFound("The customer has no such payment in this currency.", field="payment")
        return named
    about = invoices_behind(memo)
    paid = set(Allocation.objects.filter(invoice__in=about).values_list("payment_id", flat=True))
    settled = found.filter(status=PaymentStatus.SUCCEEDED).order_by("-settled_at", "-id")
    with_money = [one for one in settled if left_of(one) > 0]
    return sorted(with_money, key=lambda one: one.id not in paid)


def _request(refund: Refund) -> RefundRequest:
    payment = Payment.objects.get(id=refund.payment_id)
    method = PaymentMethod.objects.filter(payments=payment).first()
    return RefundRequest(
        amount=refund.amount,
        idempotency_key=refund.idempotency_key,
        charge_key=payment.idempotency_key,
        charge_ref=payment.provider_ref,
        method_ref=method.provider_ref if method else "",
        reason=refund.reason,
        metadata={
            "tenant": encode(Tenant.ID_PREFIX, refund.tenant_id),
            "customer": encode(Customer.ID_PREFIX, refund.customer_id),
            "payment": payment.public_id,
            "refund": refund.public_id,
        },
    )
