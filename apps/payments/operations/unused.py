"""Paying back what was paid of time that is not had, of subscriptions canceled with a refund."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID, uuid5

from django.db import transaction

from apps.core.locks import lock_row
from apps.customers.models import Customer
from apps.invoicing.models import Invoice
from apps.invoicing.operations.giving_back import credit_left, memo_named
from apps.invoicing.operations.previewing import preview_change
from apps.invoicing.unused import unused_foreseen, unused_of
from apps.payments.domain import PaymentStatus
from apps.payments.models import Allocation, Payment, Refund
from apps.payments.operations.refunding import (
    Sources,
    carry_out_refund,
    place_refund,
)
from apps.payments.queries import left_of, payments_of
from apps.subscriptions.domain import CancellationPreview, SubscriptionTerms

_ZERO: Final = Decimal(0)
_WHY: Final = "Paid ahead for time after the subscription's end."


def refund_unused(memo_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> list[Refund]:
    """Pay back what a credit memo gives of time that was paid and is not had; return the refunds.

    Each invoice's part goes to the payments that paid it, the newest first, as far as it was paid by
    them: what credit paid stays credit, and what is open of the invoice is owed less. A repeat
    continues what was begun, by the same ids and so the same idempotency keys, and begins no more.
    Raises ``NotFound`` and ``NotACreditMemo``.
    """
    refunds = _begin(memo_id, tenant_id=tenant_id, actor=actor, at=at)
    return [carry_out_refund(one, actor=actor, at=at) for one in refunds]


def preview_cancellation(
    terms: SubscriptionTerms, *, ended_at: datetime, refund: bool, cutoff: datetime
) -> CancellationPreview:
    """Return what the customer would be billed if a subscription ended so, and what would go back.

    Stores nothing. What would go back is as things are: what is paid or paid back by then, and
    what other documents do meanwhile, changes it.
    """
    told = preview_change(terms, cutoff=cutoff)
    back = _ZERO
    if refund:
        unused = unused_foreseen(
            terms.id,
            ended_at,
            [(one.corrects, one.amount) for one in told.lines if one.corrects is not None],
            net=told.total,
            total=told.total + told.tax,
            currency=told.currency,
        )
        parts = _parts(unused, tenant_id=terms.tenant_id)
        back = sum((one.amount for one in parts), _ZERO)
    return CancellationPreview(told, back)


@transaction.atomic(durable=True)
def _begin(memo_id: UUID, *, tenant_id: UUID, actor: str, at: datetime) -> list[Refund]:
    memo = memo_named(memo_id, tenant_id=tenant_id)
    lock_row(Customer, memo.customer_id, tenant_id=tenant_id)
    unused = unused_of(memo)
    paid = Allocation.objects.filter(invoice__in=unused)
    ids = {one: uuid5(memo_id, str(one)) for one in paid.values_list("payment_id", flat=True)}
    known = list(Refund.objects.filter(id__in=ids.values(), tenant_id=tenant_id).order_by("id"))
    if known:
        return known
    rest = credit_left(memo)
    refunds = []
    for part in _parts(unused, tenant_id=tenant_id):
        amount = min(part.amount, rest)
        if amount > 0:
            rest -= amount
            refunds.append(
                place_refund(
                    part.payment,
                    Sources(memos=((memo_id, amount),)),
                    id=ids[part.payment.id],
                    reason=_WHY,
                    by_hand=None,
                    actor=actor,
                    at=at,
                )
            )
    return refunds


@dataclass(slots=True)
class _Part:
    """What goes back to a payment."""

    payment: Payment
    amount: Decimal


def _parts(unused: Mapping[UUID, Decimal], *, tenant_id: UUID) -> list[_Part]:
    """Return what of each invoice's unused part was paid by which payment, and can go back."""
    open_ = {one.id: one.open_amount.amount for one in Invoice.objects.filter(id__in=unused)}
    paid = Allocation.objects.filter(invoice__in=unused).order_by("-allocated_at", "-id")
    settled = payments_of(tenant_id).filter(
        id__in=paid.order_by().values("payment_id"), status=PaymentStatus.SUCCEEDED
    )
    payments = {one.id: one for one in settled}
    room = {one: left_of(payment) for one, payment in payments.items()}
    rest = {one: max(amount - open_[one], _ZERO) for one, amount in unused.items()}
    parts: dict[UUID, _Part] = {}
    for allocation in paid:
        payment = payments.get(allocation.payment_id)
        if payment is None:
            continue
        amount = min(rest[allocation.invoice_id], allocation.amount, room[payment.id])
        if amount > 0:
            rest[allocation.invoice_id] -= amount
            room[payment.id] -= amount
            parts.setdefault(payment.id, _Part(payment, _ZERO)).amount += amount
    return list(parts.values())
